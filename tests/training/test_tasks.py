"""The control worker as it runs: a real Celery worker with its clock, on a real Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feedback import keys
from feedback.connection import connect
from serving.webhooks.store import Webhooks
from tests.serving.webhook_receiver import Receiver, log_promotion, wait_until


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "training.tasks", "worker", "-B"]
    command += ["-s", str(tmp_path / "schedule"), "-Q", "control", "-P", "solo", "-c", "1"]
    environment = os.environ | {
        "HONE_FEEDBACK_REDIS_URL": redis_url,
        "HONE_SERVING_ENGINE_TOKEN": "t" * 16,
        "HONE_SERVING_DATA_DIR": str(tmp_path),
    }
    process = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # its clock is a child of its own
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


def test_a_receiver_that_hangs_holds_up_neither_tick_nor_the_worker_s_end(
    worker: subprocess.Popen[bytes], client: redis.Redis
) -> None:
    receiver = Receiver()
    receiver.start()
    receiver.hanging.add("slow")
    for path in ("slow", "quick"):
        Webhooks(client).add(f"{receiver.url}/{path}")
    log_promotion(client, "policy-0001")
    wait_until(lambda: receiver.at("slow") and receiver.at("quick"), timeout_s=60)
    client.set(keys.ROUND_REQUESTED, "{}")
    wait_until(lambda: client.exists(keys.ROUND_ACTIVE), timeout_s=8)
    assert len(receiver.at("slow")) == 1  # its 10 s are not over: tick came in between
    log_promotion(client, "policy-0002")
    wait_until(lambda: len(receiver.at("quick")) == 2, timeout_s=5)
    worker.terminate()
    worker.wait(timeout=8)
    assert not client.exists(keys.WEBHOOK_LEASE)
    receiver.stop()
