"""The control worker as it runs: a real Celery worker with its clock, on a real Redis."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.erasure import requests
from feedback.events import audit, encode
from serving.webhooks.store import Webhooks
from tests.feedback.archive import logs
from tests.feedback.snapshots.log import completion, ranking
from tests.serving.webhook_receiver import Receiver, log_promotion, wait_until
from training import tasks


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "training.tasks", "worker", "-B"]
    command += ["-s", str(tmp_path / "schedule"), "-Q", "control,train", "-P", "solo", "-c", "1"]
    environment = os.environ | {
        "HONE_FEEDBACK_REDIS_URL": redis_url,
        "HONE_SERVING_ENGINE_TOKEN": "t" * 16,
        "HONE_SERVING_DATA_DIR": str(tmp_path),
        "HONE_FEEDBACK_ARCHIVE_URL": str(tmp_path / "archive"),
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


def test_a_snapshot_is_made_by_a_task_and_one_sent_twice_is_made_once(
    worker: subprocess.Popen[bytes], client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    for event in (completion(1), ranking(1)):
        eventlog.append(client, event)
    send = """
from training.tasks import create_snapshot
for _ in range(2):
    create_snapshot.apply_async(("nightly",), {"heldout_share": 0.0})
"""
    settings = {"HONE_FEEDBACK_REDIS_URL": redis_url, "HONE_SERVING_ENGINE_TOKEN": "t" * 16}
    subprocess.run([sys.executable, "-c", send], env=os.environ | settings, check=True)
    manifest = tmp_path / "snapshots" / "nightly" / "manifest.json"
    wait_until(manifest.exists, timeout_s=60)
    made = manifest.read_bytes()
    wait_until(lambda: not client.llen("hone:celery:train"), timeout_s=30)
    assert json.loads(made)["parts"]["rankings"]["rows"] == 1
    assert manifest.read_bytes() == made


def test_an_erasure_that_was_asked_for_is_carried_out(
    worker: subprocess.Popen[bytes], client: redis.Redis
) -> None:
    gone, stays = logs.completion(end_user="eve"), logs.completion(end_user="bob")
    logs.fill(client, gone, stays)
    asked = requests.ask(client, tenant="t", user="eve", by="test")
    wait_until(lambda: requests.get(client, asked.id).status == "done", timeout_s=60)
    assert client.xlen(keys.stream("completions")) == 1


def test_old_events_are_archived_by_a_process_that_tick_does_not_wait_for(
    redis_url: str, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task as beat calls it: once at the start, then when it is time."""
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", str(tmp_path / "archive"))
    children: dict[str, subprocess.Popen[bytes]] = {}
    monkeypatch.setattr(tasks, "_children", children)
    client.xadd(keys.stream("audit"), {"e": encode(audit("key_1", "promote"))}, id="1000-0")

    def archiver() -> subprocess.Popen[bytes]:
        tasks.archive()
        (child,) = children.values()
        assert child.wait(timeout=400) == 0
        return child

    first = archiver()
    assert client.xlen(keys.stream("audit")) == 0
    assert archiver() is first
    client.hset(keys.ERASE_DUE, "audit:aud_1", "1000-0")
    assert archiver() is not first
    assert client.hlen(keys.ERASE_DUE) == 0


def test_a_message_for_the_train_worker_waits_where_autoscalers_look(
    client: redis.Redis, redis_url: str
) -> None:
    with tasks.app.connection_for_write(redis_url) as broker:
        tasks.create_snapshot.apply_async(("nightly",), connection=broker)
    assert client.llen(keys.TRAIN_QUEUE) == 1
