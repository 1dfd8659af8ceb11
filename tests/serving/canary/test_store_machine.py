"""Several gateways and operators, whose view may be old, do anything in any order: the registry stays whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import Conflict
from feedback.events import Audit
from serving.canary.state import Canary
from serving.canary.store import Canaries
from serving.registry import BASE, Live, PolicyRecord, Registry

VERSIONS = st.sampled_from(["policy-0001", "policy-0002"])
OWNERS = st.sampled_from(["gw_1", "gw_2"])


def record(version: str) -> PolicyRecord:
    return PolicyRecord(version=version, kind="adapter", path="/p", digest=version, created=1.0)


class Everybody(RuleBasedStateMachine):
    client: redis.Redis

    views = Bundle("views")  # of the registry, as somebody has read it
    canaries = Bundle("canaries")  # that somebody has seen run

    @initialize(target=views)
    def start(self) -> Live:
        self.client.flushall()
        self.registry, self.store = Registry(self.client), Canaries(self.client)
        self.registry.ensure_base("/base", "b")
        for version in ("policy-0001", "policy-0002"):
            self.registry.add(record(version))
        self.outcomes: dict[str, str] = {}
        self.num_told = 0
        return self.registry.snapshot()

    @rule(target=views)
    def look(self) -> Live:
        return self.registry.snapshot()

    @rule(
        target=canaries,
        view=views,
        version=VERSIONS,
        share=st.sampled_from([0.1, 0.5]),
        round_id=st.sampled_from([None, None, "round-0001"]),
    )
    def begin(self, view: Live, version: str, share: float, round_id: str | None) -> Any:
        if view.aliases["production"] == version:
            return multiple()
        with contextlib.suppress(Conflict):
            why: Any = {"actor": "op", "reason": "", "round_id": round_id}
            return self.store.begin(record(version), live=view, share=share, **why)
        return multiple()

    @rule(target=canaries, canary=canaries, status=st.sampled_from(["running", "held"]))
    def change(self, canary: Canary, status: Any) -> Any:
        with contextlib.suppress(Conflict):
            return self.store.change(canary, actor="op", reason="", status=status)
        return multiple()

    @rule(owner=OWNERS)
    def lease(self, owner: str) -> None:
        self.store.lease(owner)

    @rule(
        canary=canaries,
        outcome=st.sampled_from(["promoted", "rolled_back", "aborted"]),
        owner=st.sampled_from(["", "gw_1", "gw_2"]),
    )
    def end(self, canary: Canary, outcome: Any, owner: str) -> None:
        with contextlib.suppress(Conflict):
            ended = self.store.end(canary, outcome, actor="op", reason="", owner=owner)
            first = self.outcomes.setdefault(canary.id, ended.outcome)
            assert ended.outcome == first  # it never ends differently

    @rule(version=st.one_of(VERSIONS, st.just(BASE)))
    def promote_past_it(self, version: str) -> None:
        self.registry.promote(version)

    @rule()
    def tell(self) -> None:
        self.store.tell()

    @invariant()
    def the_alias_and_the_canary_agree(self) -> None:
        live = self.registry.snapshot()
        version = live.canary.version if live.canary is not None else None
        assert live.aliases.get("canary") == version

    @invariant()
    def production_is_always_a_version(self) -> None:
        live = self.registry.snapshot()
        assert live.aliases["production"] in live.policies

    @invariant()
    def what_has_ended_does_not_run_and_is_kept(self) -> None:
        ended = {one.canary.id: one.outcome for one in self.store.history()}
        assert ended == self.outcomes
        running = self.store.running()
        assert running is None or running.id not in ended

    def teardown(self) -> None:
        self.store.tell()
        audits = [event for _, event in eventlog.read(self.client, Audit.kind)]
        ends = [
            e for e in audits if isinstance(e, Audit) and e.action in ("promote", "canary.abort")
        ]
        assert sorted(e.detail["canary"] for e in ends) == sorted(self.outcomes)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


def test_whatever_is_done_in_whatever_order_the_registry_stays_whole(client: redis.Redis) -> None:
    machine = type("Machine", (Everybody,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
