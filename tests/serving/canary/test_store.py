from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import BadRequest, Conflict, NotFound
from feedback.events import Audit
from serving.canary.state import Canary
from serving.canary.store import Canaries, find
from serving.registry import BASE, PolicyRecord, Registry

WHO: Any = {"actor": "op", "reason": "try it"}


def record(version: str) -> PolicyRecord:
    return PolicyRecord(version=version, kind="adapter", path="/p", digest=version, created=1.0)


@pytest.fixture
def client(redis_url: str) -> Any:
    with connect(redis_url) as opened:
        registry = Registry(opened)
        registry.ensure_base("/base", "b")
        registry.add(record("policy-0001"))
        registry.add(record("policy-0002"))
        yield opened


def begin(
    client: redis.Redis, version: str = "policy-0001", *, share: float = 0.1, **more: Any
) -> Canary:
    live = Registry(client).snapshot()
    return Canaries(client).begin(record(version), live=live, share=share, **{**WHO, **more})


def audited(client: redis.Redis) -> list[tuple[str, str, str]]:
    Canaries(client).tell()
    events = [cast(Audit, event) for _, event in eventlog.read(client, "audit")]
    return [(event.action, event.actor, event.detail["reason"]) for event in events]


def test_a_canary_begins_in_one_step_and_once(client: redis.Redis) -> None:
    canary = begin(client)
    live = Registry(client).snapshot()
    assert live.canary == canary == Canaries(client).running()
    assert live.aliases == {"production": BASE, "canary": "policy-0001"}
    assert (canary.incumbent, canary.incumbent_digest) == (BASE, "b")
    assert begin(client) == canary
    assert audited(client) == [("canary.begin", "op", "try it")]


def test_its_share_grows_and_never_shrinks(client: redis.Redis) -> None:
    canary = begin(client)
    grown = begin(client, share=0.4, reason="fine so far")
    assert (grown.id, grown.share, grown.started) == (canary.id, 0.4, canary.started)
    with pytest.raises(Conflict, match="none of them may lose"):
        begin(client, share=0.2)
    for share in (0.0, 1.0, 1.5):
        with pytest.raises(BadRequest):
            begin(client, share=share)
    assert audited(client)[1:] == [("canary.share", "op", "fine so far")]


def test_one_runs_at_a_time(client: redis.Redis) -> None:
    begin(client)
    with pytest.raises(Conflict, match="policy-0001 is the canary"):
        begin(client, "policy-0002")
    with pytest.raises(NotFound):
        find(Canaries(client), "policy-0002")


def test_production_that_moved_meanwhile_is_noticed(client: redis.Redis) -> None:
    live = Registry(client).snapshot()
    Registry(client).promote("policy-0002")
    with pytest.raises(Conflict, match="just now"):
        Canaries(client).begin(record("policy-0001"), live=live, share=0.1, **WHO)
    canary = begin(client)
    Registry(client).promote(BASE)
    with pytest.raises(Conflict, match="nothing was promoted"):
        Canaries(client).end(canary, "promoted", **WHO)
    assert Canaries(client).running() == canary


def test_a_promoted_canary_is_production_and_what_was_it_is_previous(client: redis.Redis) -> None:
    canary = begin(client)
    ended = Canaries(client).end(canary, "promoted", **WHO)
    live = Registry(client).snapshot()
    assert live.aliases == {"production": "policy-0001", "previous": BASE}
    assert live.canary is None
    assert Canaries(client).history() == [ended]
    assert audited(client)[-1] == ("promote", "op", "try it")


def test_an_aborted_one_leaves_production_and_is_kept_for_ever(client: redis.Redis) -> None:
    for number in range(3):
        canary = begin(client)
        Canaries(client).end(
            canary, "aborted", actor="op", reason=f"no {number}", figures={"n": number}
        )
    assert Registry(client).aliases() == {"production": BASE}
    reasons = [(one.reason, one.figures) for one in Canaries(client).history()]
    assert reasons == [(f"no {n}", {"n": n}) for n in (2, 1, 0)]


def test_ending_twice_is_ending_once_however_it_is_asked_for(client: redis.Redis) -> None:
    canary = begin(client)
    first = Canaries(client).end(canary, "aborted", **WHO)
    again = Canaries(client).end(canary, "promoted", actor="another", reason="late")
    assert again == first
    assert Registry(client).aliases() == {"production": BASE}
    assert [action for action, *_ in audited(client)] == ["canary.begin", "canary.abort"]


def test_many_who_end_it_at_the_same_time_agree(client: redis.Redis, redis_url: str) -> None:
    canary = begin(client)
    outcomes = ("promoted", "aborted", "rolled_back", "superseded") * 4

    def end(outcome: Any) -> Any:
        with connect(redis_url) as own:
            return Canaries(own).end(canary, outcome, actor=outcome, reason="")

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(end, outcomes))
    assert len({one.outcome for one in ended}) == 1
    is_live = Registry(client).aliases()["production"] == "policy-0001"
    assert is_live == (ended[0].outcome == "promoted")
    assert len(audited(client)) == 2


def test_a_decision_without_the_lease_is_refused(client: redis.Redis) -> None:
    canary, canaries = begin(client), Canaries(client)
    assert canaries.lease("gw_1")
    assert not canaries.lease("gw_2")
    assert not canaries.keep_figures(b"{}", owner="gw_2")
    with pytest.raises(Conflict, match="another gateway"):
        canaries.end(canary, "rolled_back", owner="gw_2", **WHO)
    assert canaries.keep_figures(b"{}", owner="gw_1")
    assert canaries.end(canary, "rolled_back", owner="gw_1", **WHO).outcome == "rolled_back"
    assert canaries.figures() is None


def test_a_decision_about_one_that_is_over_does_not_touch_the_next(client: redis.Redis) -> None:
    first, canaries = begin(client), Canaries(client)
    canaries.end(first, "aborted", **WHO)
    second = begin(client)
    assert canaries.end(first, "promoted", **WHO).outcome == "aborted"
    assert canaries.running() == second


def test_a_round_s_canary_begins_once_though_it_has_ended(client: redis.Redis) -> None:
    """A publisher that was killed is started again, when people may have decided long ago."""
    first = begin(client, round_id="round-0003")
    assert begin(client, round_id="round-0003") == first
    Canaries(client).end(first, "rolled_back", **WHO)
    assert begin(client, round_id="round-0003") == first
    assert Canaries(client).running() is None
    assert begin(client, round_id="round-0004").id != first.id


def test_held_and_judged_again(client: redis.Redis) -> None:
    canary, canaries = begin(client), Canaries(client)
    held = canaries.change(canary, actor="op", reason="wait", status="held")
    assert canaries.running() == held
    assert canaries.change(held, actor="op", reason="wait", status="held") == held
    with pytest.raises(Conflict, match="meanwhile"):
        canaries.change(canary, actor="op", reason="late", share=0.9)
    assert begin(client).status == "running"
    assert [action for action, *_ in audited(client)] == [
        "canary.begin",
        "canary.held",
        "canary.running",
    ]


def test_an_audit_record_whose_writer_died_is_told_by_the_next(client: redis.Redis) -> None:
    begin(client)
    assert list(eventlog.read(client, "audit")) == []
    assert Canaries(client).tell() == 1
    assert Canaries(client).tell() == 0
    assert len(audited(client)) == 1
