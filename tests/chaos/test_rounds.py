"""The machine of rounds against every interleaving: workers die at any command to Redis and between any two
files, messages come twice, leases run out under a worker that goes on, operators cancel, retry and pause.

Real Redis, Rounds, worker and publisher; only what a step computes is replaced by small files.
HONE_MACHINE_EXAMPLES=2000 is what the release was tried with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.errors import Conflict
from feedback.events import Feedback, RoundChanged, new_id
from serving import artifact, round_decisions, round_states
from serving.registry import PRODUCTION, Registry
from serving.round_states import ENDED, UNDER_WAY
from serving.settings import ServingSettings
from tests.chaos.interrupted import Crash, Fuse, Held, Interrupted, Steps
from training import publish, worker
from training.lease import FENCE, Lease
from training.rounds import Rounds
from training.settings import TrainingSettings

_NUM_EXAMPLES = int(os.environ.get("HONE_MACHINE_EXAMPLES", "60"))
pytestmark = pytest.mark.timeout(1200 + 4 * _NUM_EXAMPLES)
# A round of five steps takes about this many burns: something happens at any of them, or behind all.
_MOMENTS = st.sampled_from(range(160))  # evenly: small integers would be drawn far more often
_BROKEN = st.sampled_from([None] * 10 + ["snapshot", "reward", "ppo", "gate", "publish"])


class World(RuleBasedStateMachine):
    """One data folder, one Redis, any number of workers."""

    url: str

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operator = connect(self.url)
        self.operator.flushdb()
        self.client = Interrupted.from_url(self.url)
        self.fuse = Interrupted.fuse = Fuse()
        self.folder = tempfile.TemporaryDirectory()
        os.environ["HONE_SERVING_DATA_DIR"] = self.folder.name
        base = Path(self.folder.name) / "base"
        base.mkdir()
        (Path(self.folder.name) / "policies").mkdir()
        serving = ServingSettings(
            data_dir=Path(self.folder.name), base_model=base, engine_urls=("http://nobody",)
        )
        self.rounds = Rounds(self.client, serving, TrainingSettings(recipe="tiny"))
        self.asking = Rounds(self.operator, serving, TrainingSettings(recipe="tiny"))
        Registry(self.operator).ensure_base(str(base), "base")
        self.bounds: dict[str, Any] = {}
        publish.connect = lambda url: self.client  # type: ignore[attr-defined]

    def teardown(self) -> None:
        self.folder.cleanup()
        self.operator.close()

    # What happens.

    @initialize()
    def a_first_round(self) -> None:
        self.people_judge(2)
        self.a_round_is_started()

    @rule(count=st.integers(1, 3))
    def people_judge(self, count: int) -> None:
        for _ in range(count):
            eventlog.append(
                self.operator,
                Feedback(
                    id=new_id("fbk_"),
                    created=1.0,
                    form="rating",
                    labeler="a",
                    tenant="t",
                    completion_ids=[],
                    body={},
                ),
            )

    @rule()
    def a_round_is_started(self) -> None:
        self._interrupted(None, self._die, lambda: self.rounds.start(reason="test"))

    @rule(moment=st.sampled_from(range(12)))
    def a_round_is_started_by_one_who_dies(self, moment: int) -> None:
        self._interrupted(moment, self._die, lambda: self.rounds.start(reason="test"))

    @rule(on=st.booleans())
    def learning_is_paused_or_goes_on(self, on: bool) -> None:
        if on:
            self.operator.delete(keys.LEARNING_PAUSED)
        else:
            self.operator.set(keys.LEARNING_PAUSED, "1")

    @precondition(lambda self: self.asking.active())
    @rule(passes=st.sampled_from([True, True, False]), breaks=_BROKEN)
    def a_message_arrives(self, passes: bool, breaks: str | None) -> None:
        self._interrupted(None, self._die, lambda: self._work(passes, breaks))

    @precondition(lambda self: self.asking.active())
    @rule(
        moment=_MOMENTS,
        what=st.sampled_from(["death", "cancel", "lease runs out", "another worker"]),
        passes=st.sampled_from([True, True, False]),
        breaks=_BROKEN,
    )
    def something_happens_in_the_middle(
        self, moment: int, what: str, passes: bool, breaks: str | None
    ) -> None:
        self.interrupt(moment, what, passes, breaks)

    def interrupt(self, moment: int, what: str, passes: bool, breaks: str | None) -> bool:
        """Something happens to a worker at this moment. False: it was done before."""
        acts = {
            "death": self._die,
            "cancel": self._cancel,
            "lease runs out": self.a_lease_runs_out,
            "another worker": lambda: self._take_over(passes),
        }
        self._interrupted(moment, acts[what], lambda: self._work(passes, breaks))
        return self.fuse.has_acted

    @rule()
    def a_lease_runs_out(self) -> None:
        self.operator.delete(keys.ROUND_LEASE)

    @precondition(lambda self: self.asking.active())
    @rule()
    def an_operator_cancels(self) -> None:
        self._cancel()

    @precondition(lambda self: not self.asking.active())
    @rule()
    def an_operator_retries_the_last(self) -> None:
        states = self.asking.list()
        if states:
            with contextlib.suppress(Conflict):
                round_decisions.retry(self.asking.redis, states[-1]["round_id"], actor="op")

    @precondition(lambda self: not self.asking.active())
    @rule()
    def an_operator_overrides_the_gate(self) -> None:
        for state in self.asking.list()[-1:]:
            with contextlib.suppress(Conflict):
                round_decisions.override(
                    self.asking.redis,
                    Path(self.folder.name),
                    state["round_id"],
                    actor="op",
                    reason="a test",
                )

    # What must hold.

    @invariant()
    def at_most_one_round_is_under_way_and_it_is_the_active_one(self) -> None:
        under_way = [s["round_id"] for s in self.asking.list() if s["status"] in UNDER_WAY]
        active = self.asking.active()
        assert under_way == ([active] if active else [])

    @invariant()
    def what_serves_is_gated_complete_and_on_disk(self) -> None:
        record = Registry(self.operator).snapshot().resolve(PRODUCTION)
        assert record is not None
        if record.kind == "base":
            return
        folder = Path(record.path)
        manifest = artifact.read_manifest(folder)
        for name, digest in manifest.files.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        report = self._round_file(cast("str", record.round_id), "gate/report.json")
        assert report["passed"] or manifest.lineage["override"]["reason"] == "a test"
        assert report["digest"] == record.digest == manifest.digest

    @invariant()
    def a_round_has_at_most_one_version_and_none_if_it_was_cancelled_or_refused(self) -> None:
        made = [r for r in Registry(self.operator).policies().values() if r.kind != "base"]
        assert len({record.round_id for record in made}) == len(made)
        for state in self.asking.list():
            versions = [r.version for r in made if r.round_id == state["round_id"]]
            if state["status"] in (
                round_states.CANCELLED,
                round_states.REFUSED,
                round_states.CANCELLING,
            ):
                assert not versions
            if state["status"] == round_states.FINISHED:
                assert versions

    @invariant()
    def a_round_learns_from_the_same_judgements_however_often_it_is_begun(self) -> None:
        for state in self.asking.list():
            round_id = state["round_id"]
            path = self._folder(round_id) / "snapshot" / "manifest.json"
            if path.exists():
                found = json.loads(path.read_text())["bounds"]
                assert self.bounds.setdefault(round_id, found) == found

    @invariant()
    def the_log_tells_each_change_once_and_in_order(self) -> None:
        told: dict[str, list[str]] = {}
        for state in self.asking.list():
            round_states.record(self.operator, state["round_id"])
        for _, event in eventlog.read(self.operator, "rounds"):
            assert isinstance(event, RoundChanged)
            if event.what != "step_done":
                told.setdefault(event.round_id, []).append(event.what)
        for state in self.asking.list():
            said = told[state["round_id"]]
            assert said[0] == "started"
            assert {*said[2::2]} <= {"retried", "overridden"}
            assert all(what in ENDED for what in said[1::2])
            assert (said[-1] in ENDED) == (state["status"] in ENDED)
            if state["status"] in ENDED:
                assert said[-1] == state["status"]

    # How.

    def _interrupted(
        self, moment: int | None, act: Callable[[], None], run: Callable[[], Any]
    ) -> None:
        self.fuse.set(moment, act)
        with contextlib.suppress(Crash, Conflict):
            run()
        self.fuse.defuse()

    def _die(self) -> None:
        raise Crash

    def _cancel(self) -> None:
        active = self.asking.active()
        if active:
            with contextlib.suppress(Conflict):
                round_decisions.cancel(self.operator, active)

    def _take_over(self, passes: bool) -> None:
        """The worker hangs, its lease runs out, another one does the whole work, and the first wakes up."""
        token = os.environ.get(FENCE, "")
        self.a_lease_runs_out()
        self._work(passes, None)
        os.environ[FENCE] = token

    def _work(self, passes: bool, breaks: str | None) -> None:
        active = self.rounds.active()
        if active is None:
            return
        lease = Lease.acquire(self.client)
        if lease is None:
            return
        run_step = Steps(self.fuse, passes=passes, breaks=breaks)
        worker.work(self.rounds, active, Held(lease), run_step=run_step)
        lease.release()

    def _folder(self, round_id: str) -> Path:
        return Path(self.folder.name) / "rounds" / round_id

    def _round_file(self, round_id: str, name: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self._folder(round_id) / name).read_text()))


@pytest.fixture
def world_url(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 2)
    monkeypatch.setattr(publish, "connect", publish.connect)
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", "t" * 16)
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", "set by each world")
    monkeypatch.setenv(FENCE, "")
    monkeypatch.setattr(World, "url", redis_url, raising=False)
    return redis_url


def check(world: World) -> None:
    """Every invariant."""
    world.at_most_one_round_is_under_way_and_it_is_the_active_one()
    world.what_serves_is_gated_complete_and_on_disk()
    world.a_round_has_at_most_one_version_and_none_if_it_was_cancelled_or_refused()
    world.a_round_learns_from_the_same_judgements_however_often_it_is_begun()
    world.the_log_tells_each_change_once_and_in_order()


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("what", ["death", "cancel", "lease runs out", "another worker"])
def test_at_every_single_moment_of_a_round_it_may_happen(
    what: str, passes: bool, world_url: str
) -> None:
    """And whatever it was, the next workers bring the round to an end."""
    moment, has_happened = 0, True
    while has_happened:
        world = World()
        world.people_judge(2)
        world.a_round_is_started()
        has_happened = world.interrupt(moment, what, passes, None)
        check(world)
        world.a_lease_runs_out()
        world.a_message_arrives(passes, None)
        check(world)
        (state,) = world.asking.list()
        asked = {round_states.CANCELLED} if what == "cancel" and has_happened else set()
        assert state["status"] in asked | {
            round_states.FINISHED if passes else round_states.REFUSED
        }
        if state["status"] == round_states.CANCELLED:
            world.an_operator_retries_the_last()
            world.a_message_arrives(passes, None)
            check(world)
        world.teardown()
        moment += 1 if _NUM_EXAMPLES >= 1000 else 4
    assert moment > 60  # as many commands, files and gaps there are at least


def test_no_interleaving_breaks_a_round(world_url: str) -> None:
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=_NUM_EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            derandomize=_NUM_EXAMPLES < 100,
            suppress_health_check=list(HealthCheck),
        ),
    )
