"""What recovery would write: a table of registries, logs and folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.errors import Conflict, Refused
from serving.lineage.deployments import Change
from serving.recovery.found import Counted, Found, OnDisk, highest
from serving.recovery.plan import NeedsProduction, Plan, Registered, counters, make
from serving.recovery.told import Told
from serving.registry import PolicyRecord

ZERO: dict[Counted, int] = {"policy": 0, "moderation": 0, "round": 0}
EMPTY = Told(numbers=ZERO, changes=(), ended=frozenset(), is_empty=True)
BASE = PolicyRecord(version="policy-0000", kind="base", path="/b", digest="b", created=0.0)


def record(number: int, **changes: Any) -> PolicyRecord:
    fields: dict[str, Any] = {
        "version": f"policy-{number:04d}",
        "kind": "adapter",
        "path": f"/policies/{number}",
        "digest": str(number) * 8,
        "parent": f"policy-{number - 1:04d}",
        "round_id": f"round-{number:04d}",
        "created": float(number),
    }
    return PolicyRecord(**fields | changes)


def on_disk(*numbers: int, ungated: tuple[int, ...] = (), broken: tuple[int, ...] = ()) -> OnDisk:
    found = [
        Found(version=f"policy-{n:04d}", record=None, problem="a file is missing")
        if n in broken
        else Found(version=f"policy-{n:04d}", record=record(n), is_gated=n not in ungated)
        for n in numbers
    ]
    return OnDisk(
        found=tuple(found),
        base=BASE,
        base_digests=frozenset({"b"}),
        numbers={**ZERO, "policy": max(numbers, default=0)},
        changes=tuple(
            Change(version=f"policy-{n:04d}", at=n, by="r", how="round") for n in numbers
        ),
        rounds={},
        published={f"policy-{n:04d}": f"round-{n:04d}" for n in numbers},
    )


def registered(
    *records: PolicyRecord, aliases: Mapping[str, str] | None = None, **changes: Any
) -> Registered:
    return Registered(
        records={each.version: each for each in records},
        aliases={"policy": aliases or {}, "moderation": {"production": "moderation-0000"}},
        counters=ZERO,
        rounds=frozenset(),
        **{"is_changing": False, **changes},
    )


def told(*changes: tuple[str, float], through: int) -> Told:
    ended = frozenset(f"round-{n:04d}" for n in range(1, through + 1))
    made = (Change(version=v, at=at, by="key", how="rollback") for v, at in changes)
    return Told(numbers=ZERO, changes=tuple(made), ended=ended, is_empty=False)


def planned(
    disk: OnDisk, log: Told = EMPTY, now: Registered | None = None, *, production: str | None = None
) -> Plan:
    return make(disk, log, now or registered(), chosen={"policy": production})


def test_what_a_whole_log_says_is_live_is_live() -> None:
    plan = planned(on_disk(1, 2), told(through=2))
    assert plan.aliases["policy"] == {"production": "policy-0002", "previous": "policy-0001"}
    assert [each.version for each in plan.records] == ["policy-0000", "policy-0001", "policy-0002"]
    rolled_back = planned(on_disk(1, 2), told(("policy-0001", 3.0), through=2))
    assert rolled_back.aliases["policy"] == {
        "production": "policy-0001",
        "previous": "policy-0002",
    }


@pytest.mark.parametrize("log", [EMPTY, told(through=1)])
def test_a_log_that_is_lost_or_too_old_is_not_believed_and_the_operator_says_it(log: Told) -> None:
    with pytest.raises(NeedsProduction, match="--production") as unknown:
        planned(on_disk(1, 2), log)
    assert unknown.value.likely == "policy-0002"
    plan = planned(on_disk(1, 2), log, production="policy-0001")
    assert plan.aliases["policy"] == {"production": "policy-0001", "previous": "policy-0000"}


def test_of_a_version_that_began_as_a_canary_the_one_before_it_is_the_likely_one() -> None:
    disk = replace(on_disk(1, 2), changes=on_disk(1).changes)
    with pytest.raises(NeedsProduction) as unknown:
        planned(disk)
    assert unknown.value.likely == "policy-0001"


def test_nothing_incomplete_and_nothing_ungated_becomes_live() -> None:
    for disk in (on_disk(1, 2, ungated=(2,)), on_disk(1, 2, broken=(2,))):
        with pytest.raises(Refused, match="must not become production"):
            planned(disk, told(through=2))
        with pytest.raises(Refused, match="must not become production"):
            planned(disk, production="policy-0002")
    with pytest.raises(Refused, match="no folder"):
        planned(on_disk(1), production="policy-0009")
    plan = planned(on_disk(1, 2, broken=(1,)), told(through=2))
    assert plan.aliases["policy"] == {"production": "policy-0002"}
    assert "previous" in plan.notes[0]
    assert [each.version for each in plan.left_out] == ["policy-0001"]
    assert "policy-0001" not in [each.version for each in plan.records]


def test_the_base_may_be_live_whatever_was_published() -> None:
    plan = planned(on_disk(1), production="policy-0000")
    assert plan.aliases["policy"] == {"production": "policy-0000"}
    assert planned(on_disk()).aliases == {"policy": {}, "moderation": {}}


def test_over_a_registry_that_has_the_base_alone_it_goes_on() -> None:
    now = registered(BASE, aliases={"production": "policy-0000"})
    plan = planned(on_disk(1), told(through=1), now)
    assert plan.aliases["policy"] == {"production": "policy-0001", "previous": "policy-0000"}
    assert [each.version for each in plan.records] == ["policy-0001"]


def test_over_a_registry_that_agrees_nothing_changes_and_over_another_nothing_is_done() -> None:
    aliases = {"production": "policy-0001", "previous": "policy-0000"}
    same = registered(BASE, record(1, path="/elsewhere"), aliases=aliases)
    plan = planned(on_disk(1), EMPTY, same)
    assert (plan.records, plan.aliases["policy"]) == ([], {})
    assert planned(on_disk(1), EMPTY, same, production="policy-0001").aliases["policy"] == {}
    with pytest.raises(Conflict, match="is in production, not"):
        planned(on_disk(1), EMPTY, same, production="policy-0000")
    for other in (record(1, digest="other"), record(1, parent=None), record(3)):
        with pytest.raises(Conflict, match="nothing was changed"):
            planned(on_disk(1), EMPTY, registered(BASE, other, aliases=aliases))
    stranger = PolicyRecord(version=BASE.version, kind="base", path="/", digest="x", created=0)
    with pytest.raises(Conflict, match="another base"):
        planned(on_disk(1), EMPTY, registered(stranger))
    with pytest.raises(Conflict, match="canary"):
        planned(on_disk(1), EMPTY, registered(is_changing=True))


_NUMBERS = st.fixed_dictionaries(
    {"policy": st.integers(0, 99), "moderation": st.integers(0, 99), "round": st.integers(0, 99)}
)


@given(now=_NUMBERS, disk=_NUMBERS, log=_NUMBERS)
def test_no_counter_ever_goes_down_and_no_number_seen_anywhere_is_given_out_again(
    now: dict[Counted, int], disk: dict[Counted, int], log: dict[Counted, int]
) -> None:
    made = counters(now, disk, log)
    for kind, number in made.items():
        assert number >= max(now[kind], disk[kind], log[kind])
        assert number in (now[kind], disk[kind], log[kind])
    assert counters(made, disk, log) == made  # again it changes nothing


@given(numbers=st.lists(st.integers(0, 10**6)))
def test_the_highest_number_is_found_wherever_it_stands(numbers: list[int]) -> None:
    texts = [f'.policy-{n:04d}.partial {{"parent": "round-{n:04d}"}}' for n in numbers]
    found = highest([*texts, "hone-moderation-4", "policy-x"])
    most = max(numbers, default=0)
    assert found == {"policy": most, "moderation": 0, "round": most}
