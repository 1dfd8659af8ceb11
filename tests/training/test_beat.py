"""Celery's clock: real beats on a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from feedback.connection import connect
from training import tasks

LOCK = "hone:celery:redbeat::lock"
QUEUE = "hone:celery:control"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


def start(redis_url: str, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"HONE_FEEDBACK_REDIS_URL": redis_url}
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "training", "beat"], env=environment, stdout=out, stderr=out
        )


def until(client: redis.Redis, longer_than: int, *, timeout_s: float = 180.0) -> int:
    """Tasks in the queue, once there are more."""
    deadline = time.monotonic() + timeout_s
    while (length := cast("int", client.llen(QUEUE))) <= longer_than:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return length


def test_of_two_clocks_one_ticks_and_the_other_goes_on_when_it_is_killed(
    redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    beats = [start(redis_url, tmp_path / "first.log")]
    try:
        until(client, 0)
        beats.append(start(redis_url, tmp_path / "second.log"))
        length = until(client, cast("int", client.llen(QUEUE)) + 1)
        held = client.get(LOCK)
        assert held is not None
        beats[0].kill()
        beats[0].wait()
        until(client, length + 1, timeout_s=tasks.CLOCK_LOCK_S + 90)
        assert client.get(LOCK) not in (None, held)
    finally:
        for beat in beats:
            beat.kill()
            beat.wait()
