from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from feedback.errors import NotFound, Unavailable
from serving.registry import Live, PolicyRecord
from serving.routing import pick, resolve, wanted_versions


def record(version: str, kind: str = "adapter") -> PolicyRecord:
    return PolicyRecord(version=version, kind=kind, path="p", digest=version * 8, created=1.0)


LIVE = Live(
    policies={v: record(v) for v in ("policy-0001", "policy-0002", "policy-0003")}
    | {"policy-0000": record("policy-0000", "base")},
    aliases={"production": "policy-0002", "previous": "policy-0000", "canary": "policy-0003"},
)


@pytest.mark.parametrize(
    ("model", "version", "alias"),
    [
        ("policy", "policy-0002", "production"),
        ("policy@production", "policy-0002", "production"),
        ("policy@canary", "policy-0003", "canary"),
        ("policy@previous", "policy-0000", "previous"),
        ("policy-0001", "policy-0001", None),
        ("policy-0002", "policy-0002", None),
    ],
)
def test_a_model_name_means_a_version(model: str, version: str, alias: str | None) -> None:
    target = resolve(model, LIVE)
    assert (target.version, target.alias) == (version, alias)


@pytest.mark.parametrize("model", ["", "production", "policy@nightly", "policy-0009", "gpt-4@x"])
def test_other_names_are_no_models(model: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(model, LIVE)
    assert caught.value.error_code == "model_not_found"


@pytest.mark.parametrize("model", ["policy", "policy@previous", "policy-0001", "gpt-4"])
@pytest.mark.parametrize("policies", [{}, {"policy-0000": record("policy-0000", "base")}])
def test_of_no_name_it_is_said_that_there_is_no_such_model_before_anything_is_in_production(
    model: str, policies: dict[str, PolicyRecord]
) -> None:
    with pytest.raises(Unavailable):
        resolve(model, Live(policies=policies, aliases={}))


@dataclass
class Seen:
    url: str
    in_flight: int = 0
    versions: set[str] = field(default_factory=lambda: {"policy-0002"})

    is_full: bool = False

    def can_serve(self, version: str) -> bool:
        return version in self.versions

    def has_room(self) -> bool:
        return not self.is_full


def test_the_engine_with_the_fewest_requests_answers() -> None:
    engines = [Seen("a", 3), Seen("b", 1), Seen("c", 0, set())]
    picked = pick(engines, "policy-0002")
    assert picked is not None
    assert picked.url == "b"


def test_an_engine_that_failed_is_avoided_unless_it_is_the_only_one() -> None:
    engines = [Seen("a", 3), Seen("b", 1)]
    picked = pick(engines, "policy-0002", avoid=["b"])
    assert picked is engines[0]
    assert pick(engines[1:], "policy-0002", avoid=["b"]) is engines[1]
    assert pick(engines, "policy-0001") is None


def test_engines_want_production_first_and_nothing_beside_full_weights() -> None:
    assert [r.version for r in wanted_versions(LIVE)] == ["policy-0002", "policy-0003"]
    full = Live(
        policies=LIVE.policies | {"policy-0004": record("policy-0004", "full")},
        aliases={"production": "policy-0004", "previous": "policy-0002"},
    )
    assert [r.version for r in wanted_versions(full)] == ["policy-0004"]


def test_a_session_stays_with_its_engine_while_that_is_not_much_busier() -> None:
    engines = [Seen("a"), Seen("b"), Seen("c")]
    home = {s: pick(engines, "policy-0002", session=b"%d" % s) for s in range(60)}
    counts = Counter(engine.url for engine in home.values() if engine)
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 5
    engines[0].in_flight = 3
    assert home == {s: pick(engines, "policy-0002", session=b"%d" % s) for s in range(60)}
    engines[0].in_flight = 9
    moved = {s: pick(engines, "policy-0002", session=b"%d" % s) for s in range(60)}
    assert engines[0] not in moved.values()
    assert all(moved[s] is e for s, e in home.items() if e is not engines[0])


def test_a_full_engine_is_not_picked() -> None:
    engines = [Seen("a", is_full=True), Seen("b", 7)]
    assert pick(engines, "policy-0002") is engines[1]
    engines[1].is_full = True
    assert pick(engines, "policy-0002") is None
