"""Alerts fired for real: a gateway, an engine, Redis and a train worker as processes, and a Prometheus that
reads the gateway. What is broken is broken for real; each alert is over once it is mended.

    make test ARGS="tests/helm/test_alerts_for_real.py -s"
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from feedback.connection import connect
from serving import auth
from serving.settings import ServingSettings
from tests.chaos.stack import HELLO, Stack, ready
from tests.conftest import RedisServer
from tests.helm.prometheus import Prometheus, prometheus
from training import worker
from training.lease import Keeper, Lease
from training.rounds import Rounds
from training.settings import TrainingSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
async def stack(tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:  # type: ignore[misc]
    folder = tmp_path / "data"
    folder.mkdir()
    running = Stack(folder, redis_server)
    try:
        await ready(running.plan.url)
        yield running
    finally:
        running.stop()


@pytest.fixture
def seen(stack: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    scrapes = stack.plan.url.removeprefix("http://")
    with prometheus(tmp_path, scrapes=scrapes) as running:
        yield running


def rounds_of(stack: Stack) -> Rounds:
    serving = ServingSettings(data_dir=stack.plan.data_dir, engine_token="t" * 16)
    return Rounds(connect(stack.redis.url), serving, TrainingSettings(recipe="tiny"))


def ask(stack: Stack, key: str) -> None:
    """An answer that is to be kept."""
    headers = {"authorization": f"Bearer {key}"}
    url = f"{stack.plan.url}/v1/chat/completions"
    answer = httpx2.post(url, json=HELLO | {"store": True}, headers=headers, timeout=30)
    answer.raise_for_status()


def test_an_engine_and_moderation_that_die_are_told_and_over_when_they_are_back(
    stack: Stack, seen: Prometheus
) -> None:
    stack.mock.kill()  # it is both
    stack.mock.wait()
    seen.wait_for("EngineDown", "NoEngine", "ModerationAway")
    assert seen.firing() & {"RedisAway", "OutboxFilling"} == set()
    stack.kill_engine()  # and starts it
    seen.wait_for_none_of("EngineDown", "NoEngine", "ModerationAway")


def test_redis_away_and_what_waits_for_it_are_told_and_over_when_it_is_back(
    stack: Stack, seen: Prometheus
) -> None:
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="test", scopes=("infer",))
    time.sleep(1)  # the gateway reads the keys
    ask(stack, key)
    stack.redis.stop(kill=True)
    ask(stack, key)
    seen.wait_for("RedisAway", "OutboxFilling")
    assert seen.firing() & {"EngineDown", "ModerationAway"} == set()
    stack.redis.start()
    seen.wait_for_none_of("RedisAway", "OutboxFilling")


def test_a_round_that_nobody_works_on_and_a_gate_that_refuses_are_told(
    stack: Stack, seen: Prometheus, tmp_path: Path
) -> None:
    rounds, step = rounds_of(stack), Steps()
    train = _start_train_worker(stack, tmp_path)  # no beat: nobody hands it the round
    try:
        round_id = rounds.start(reason="test")
        seen.wait_for("RoundStuck")
        working = threading.Thread(target=step.work, args=(rounds, round_id), daemon=True)
        working.start()
        seen.wait_for_none_of("RoundStuck")
        step.may_end.set()
        seen.wait_for("GateRefused")
        working.join()
        step.passes = True
        step.work(rounds, rounds.start(reason="test"))
        seen.wait_for_none_of("GateRefused")
        train.kill()
        train.wait()
        rounds.start(reason="test")
        seen.wait_for("TrainWorkerAbsent")
        assert "RoundStuck" not in seen.firing()
    finally:
        train.kill()
        train.wait()
        rounds.redis.close()


class Steps:
    """In place of the trainer: each step writes what the worker reads of it. The worker is the real one."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.passes = False

    def work(self, rounds: Rounds, round_id: str) -> None:
        lease = Lease.acquire(rounds.redis)
        assert lease is not None
        with Keeper(lease) as keeper:
            worker.work(rounds, round_id, keeper, run_step=self._run)

    def _run(
        self, _rounds: Rounds, _round_id: str, folder: Path, step: str, _holder: worker.Holder
    ) -> int:
        assert self.may_end.wait(300)
        (folder / step).mkdir(exist_ok=True)
        report = {"passed": self.passes, "checks": [{"name": "win_rate", "passed": self.passes}]}
        written = {
            "snapshot": ("manifest.json", {"bounds": {"feedback": None}}),
            "gate": ("report.json", report),
            "publish": ("result.json", {"version": "policy-0001"}),
        }
        if step in written:
            name, said = written[step]
            (folder / step / name).write_text(json.dumps(said))
        if step == "gate" and not self.passes:
            return worker.EXIT_REFUSED
        (folder / step / "DONE").touch()
        return 0


def _start_train_worker(stack: Stack, folder: Path) -> subprocess.Popen[bytes]:
    settings = {
        "HONE_FEEDBACK_REDIS_URL": stack.redis.url,
        "HONE_SERVING_DATA_DIR": str(stack.plan.data_dir),
        "HONE_SERVING_ENGINE_TOKEN": "t" * 16,
    }
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "training", "worker", "train"],
            env=os.environ | settings,
            stdout=log,
            stderr=log,
        )
