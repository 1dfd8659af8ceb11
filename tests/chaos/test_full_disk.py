"""Redis is away and the disk of the outbox is full, again and again, under load.

HONE_CHAOS_KILLS=20 does it so often, in each of the ways; by default, a few times.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from feedback.connection import connect
from serving import auth
from tests.chaos.stack import Stack, ready
from tests.chaos.users import Users, assert_the_log_agrees
from tests.conftest import RedisServer
from tests.small_disk import SmallDisk

TIMES = int(os.environ.get("HONE_CHAOS_KILLS", "3"))
WAYS = {
    "redis comes back before there is room": ("redis", "room"),
    "room comes before redis": ("room", "redis"),
    "the gateway is killed on the full disk": ("gateway", "redis", "room"),
}


@pytest.fixture
def stack(tmp_path: Path, redis_server: RedisServer, small_disk: SmallDisk) -> Iterator[Stack]:
    outbox = str(small_disk.folder / "outbox.sqlite")
    running = Stack(tmp_path, redis_server, feedback_outbox_path=outbox)
    yield running
    running.stop()


async def until_refused(users: Users) -> None:
    """Whole answers and streams: nothing can be kept any more."""
    num_refused, num_broken = len(users.refused), len(users.broken)
    async with asyncio.timeout(30):
        while len(users.refused) < num_refused + 2 or len(users.broken) < num_broken + 2:
            await asyncio.sleep(0.05)


async def readiness(stack: Stack) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{stack.plan.url}/readyz") as response,
    ):
        return await response.text()


async def mend(stack: Stack, disk: SmallDisk, what: str) -> None:
    if what == "redis":
        await asyncio.to_thread(stack.redis.start)
    elif what == "room":
        disk.free()
    else:
        await asyncio.to_thread(stack.kill_gateway)
    await asyncio.sleep(0.5)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
async def test_what_cannot_be_kept_is_refused_and_what_was_acknowledged_is_kept(
    stack: Stack, small_disk: SmallDisk, way: str
) -> None:
    with connect(stack.redis.url) as client:
        secret, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack.plan.url)
    users, is_over = Users(stack.plan.url, secret), asyncio.Event()
    asking = asyncio.create_task(users.ask_until(is_over))
    took_s: list[float] = []
    for number in range(TIMES):
        await asyncio.sleep(0.7)
        await asyncio.to_thread(stack.redis.stop, kill=True)
        await asyncio.sleep(0.7)  # some events are in the outbox
        if number % 2:
            small_disk.fill()  # else the outbox does
        await until_refused(users)
        assert "the outbox takes nothing" in await readiness(stack)
        small_disk.fill()
        began = time.monotonic()
        for what in WAYS[way]:
            await mend(stack, small_disk, what)
        await users.are_answered()
        await ready(stack.plan.url)
        took_s.append(time.monotonic() - began)
    is_over.set()
    await asking
    await ready(stack.plan.url)

    with connect(stack.redis.url) as client:
        assert_the_log_agrees(client, users)
    assert {status for status, _ in users.refused} == {503}
    errors = [body["error"] for _, body in users.refused]
    errors += [orjson.loads(said)["error"] for said in users.broken]
    assert {error["type"] for error in errors} == {"service_unavailable_error"}
    assert {frozenset(error) for error in errors} == {
        frozenset(("message", "type", "param", "code"))
    }
    recovery = f"recovered after {statistics.median(took_s):.1f} s, at most {max(took_s):.1f} s"
    sys.stdout.write(f"{way}: {TIMES} times, {users.figures()}; {recovery}\n")
