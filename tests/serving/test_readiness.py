from __future__ import annotations

from serving.in_vllm.readiness import Readiness
from serving.registry import Live, PolicyRecord, Rollout
from serving.routing import ready_with


def test_an_engine_is_not_ready_before_a_gateway_has_said_what_it_wants() -> None:
    assert Readiness().lacks(["policy-0000"]) == "no gateway has said yet which version it wants"


def test_it_is_ready_with_the_wanted_version_and_not_without() -> None:
    readiness = Readiness()
    readiness.told("policy-0007")
    assert readiness.lacks(["policy-0000"]) == "policy-0007 is not loaded"
    assert readiness.lacks(["policy-0000", "policy-0007"]) is None


def test_a_look_that_says_nothing_changes_nothing() -> None:
    readiness = Readiness()
    readiness.told("policy-0007")
    readiness.told(None)  # a trainer's
    assert readiness.lacks(["policy-0007"]) is None


def test_while_full_weights_come_the_old_and_the_new_version_will_do() -> None:
    live = Live(policies={}, aliases={"production": "policy-0001", "previous": "policy-0000"})
    assert ready_with(live) == ["policy-0001"]
    rollout = Rollout(version="policy-0002", production="policy-0001", previous=None, started=1.0)
    coming = Live(policies={}, aliases=live.aliases, rollout=rollout)
    assert ready_with(coming) == ["policy-0001", "policy-0002"]


def test_before_anything_is_in_production_nothing_is_wanted() -> None:
    record = PolicyRecord(
        version="policy-0000", kind="base", path="/m", digest="b" * 64, created=1.0
    )
    assert ready_with(Live(policies={"policy-0000": record}, aliases={})) == []
