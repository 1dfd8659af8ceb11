"""Clients that hold connections, idle or half-way through a request, do not keep others from being answered."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.connection import connect
from serving import auth
from tests.chaos.stack import HELLO, Stack, http_request, latencies, ready, rss_bytes, shown
from tests.conftest import RedisServer

CONNECTIONS = int(os.environ.get("HONE_CHAOS_CONNECTIONS", "1000"))
SLOWEST_S = 2.0
IDLE_KB = 64

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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


async def idle_client(stack: Stack, key: str) -> Connection:
    """Has been answered once, and stays."""
    connection = await asyncio.open_connection(stack.plan.host, stack.plan.port)
    await ask_on(connection, key)
    return connection


async def ask_on(connection: Connection, key: str) -> None:
    reader, writer = connection
    writer.write(http_request(key, HELLO))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    await reader.readexactly(int(length))


async def test_slow_clients_do_not_keep_others_waiting(stack: Stack) -> None:
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack.plan.url)
    before = await latencies(stack, key, count=200)
    held: list[asyncio.StreamWriter] = []
    while len(held) < CONNECTIONS:
        some = min(200, CONNECTIONS - len(held))
        held += await asyncio.gather(*(slow_client(stack) for _ in range(some)))
    beside = await latencies(stack, key, count=200)
    memory_mb = rss_bytes(stack.gateway) / 1e6
    for writer in held:
        writer.write(b"x-slow: 1\r\n")  # still open, and not one byte was answered
        writer.close()
    after = await latencies(stack, key, count=200)
    assert beside[-1] < SLOWEST_S
    sys.stdout.write(
        f"{CONNECTIONS} slow clients: p50/p99 ms before, beside, after: "
        f"{', '.join(map(shown, (before, beside, after)))}; the gateway has {memory_mb:.0f} MB\n"
    )


async def test_idle_connections_cost_little_and_do_not_keep_others_waiting(stack: Stack) -> None:
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack.plan.url)
    before = await latencies(stack, key, count=200)
    held: list[Connection] = []
    base = rss_bytes(stack.gateway)
    while len(held) < CONNECTIONS:
        some = min(50, CONNECTIONS - len(held))
        held += await asyncio.gather(*(idle_client(stack, key) for _ in range(some)))
    beside = await latencies(stack, key, count=200)
    each_kb = (rss_bytes(stack.gateway) - base) / CONNECTIONS / 1e3
    for connection in held[:: max(1, CONNECTIONS // 100)]:
        await ask_on(connection, key)  # it was kept open
    for _, writer in held:
        writer.close()
    assert beside[-1] < SLOWEST_S
    assert each_kb < IDLE_KB
    sys.stdout.write(
        f"{CONNECTIONS} idle connections: p50/p99 ms before, beside: {shown(before)}, "
        f"{shown(beside)}; {each_kb:.1f} KB of the gateway each\n"
    )
