"""`kill -9`, again and again, under load: no acknowledged answer is lost or doubled, no stream lies.

HONE_CHAOS_KILLS=20 kills each part so often; by default, a few times.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from feedback.connection import connect
from serving import auth
from serving.bench.mock import WORDS
from tests.chaos.stack import Stack, ready
from tests.chaos.users import Users, assert_the_log_agrees
from tests.conftest import RedisServer

KILLS = int(os.environ.get("HONE_CHAOS_KILLS", "3"))  # of each part
ANSWER = "".join(WORDS)


@pytest.fixture
def stack(tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:
    running = Stack(tmp_path, redis_server)
    yield running
    running.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["gateway", "engine", "redis"])
async def test_nothing_acknowledged_is_lost_or_doubled_and_no_stream_lies(
    stack: Stack, part: str
) -> None:
    kill: Callable[[], None] = getattr(stack, f"kill_{part}")
    with connect(stack.redis.url) as client:
        secret, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack.plan.url)
    users, is_over = Users(stack.plan.url, secret), asyncio.Event()
    asking = asyncio.create_task(users.ask_until(is_over))
    took_s: list[float] = []
    for _ in range(KILLS):
        await asyncio.sleep(0.7)
        began = time.monotonic()
        await asyncio.to_thread(kill)
        await users.are_answered()
        await ready(stack.plan.url)
        took_s.append(time.monotonic() - began)
    is_over.set()
    await asking
    await ready(stack.plan.url)

    with connect(stack.redis.url) as client:
        logged = assert_the_log_agrees(client, users)
    for event in logged:
        text = event.choices[0].text
        assert text == ANSWER if event.complete else ANSWER.startswith(text)
    assert [said for said in users.broken if not said.startswith('{"error"')] == []
    recovery = f"recovered after {statistics.median(took_s):.1f} s, at most {max(took_s):.1f} s"
    sys.stdout.write(f"{part}: {KILLS} kills, {users.figures()}; {recovery}\n")
