"""Clients that hold connections and send next to nothing do not keep others from being answered."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from feedback.connection import connect
from serving import auth
from tests.chaos.stack import Stack, ready
from tests.conftest import RedisServer

CONNECTIONS = int(os.environ.get("HONE_CHAOS_CONNECTIONS", "1000"))
SLOWEST_S = 2.0


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the connections in this process, and in those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + 1_000
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"a process may have {hard} files open here, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def stack(many_files: None, tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:
    running = Stack(tmp_path, redis_server)
    yield running
    running.stop()


async def slow_client(stack: Stack) -> asyncio.StreamWriter:
    """Has begun a request, and takes its time."""
    _, writer = await asyncio.open_connection(stack.plan.host, stack.plan.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    await writer.drain()
    return writer


async def latencies(stack: Stack, key: str, *, count: int) -> list[float]:
    """Seconds of so many requests, four at a time."""
    body = {"model": "policy", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {key}"}
    turn, took = asyncio.Semaphore(4), []
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask() -> None:
            async with turn:
                began = time.monotonic()
                url = f"{stack.plan.url}/v1/chat/completions"
                async with session.post(url, json=body) as response:
                    response.raise_for_status()
                    await response.read()
                took.append(time.monotonic() - began)

        await asyncio.gather(*(ask() for _ in range(count)))
    return sorted(took)


@pytest.mark.timeout(300)
async def test_slow_clients_do_not_keep_others_waiting(stack: Stack) -> None:
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack)
    before = await latencies(stack, key, count=200)
    held: list[asyncio.StreamWriter] = []
    while len(held) < CONNECTIONS:
        some = min(200, CONNECTIONS - len(held))
        held += await asyncio.gather(*(slow_client(stack) for _ in range(some)))
    beside = await latencies(stack, key, count=200)
    memory_mb = int(Path(f"/proc/{stack.gateway.pid}/statm").read_text().split()[1]) * 4096 / 1e6
    for writer in held:
        writer.write(b"x-slow: 1\r\n")  # still open, and not one byte was answered
        writer.close()
    after = await latencies(stack, key, count=200)
    assert beside[-1] < SLOWEST_S
    p50, p99 = 100, 198
    figures = [f"{1e3 * each[p50]:.1f}/{1e3 * each[p99]:.1f}" for each in (before, beside, after)]
    sys.stdout.write(
        f"{CONNECTIONS} slow clients: p50/p99 ms before, beside, after: {', '.join(figures)}; "
        f"the gateway has {memory_mb:.0f} MB\n"
    )
