"""Clients that ask for long streams and read them slowly, or not at all.

HONE_CHAOS_STALLED=200 stalls so many at a time; by default 50.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from feedback import eventlog
from feedback.connection import connect
from feedback.events import Completion
from serving import auth
from tests.chaos.stack import Stack, http_request, latencies, ready, rss_bytes, shown
from tests.conftest import RedisServer

STALLED = int(os.environ.get("HONE_CHAOS_STALLED", "50"))
TOKENS = 30_000  # of an answer; 10.9 MB as the engine sends them
MOST_BYTES = 1_000_000  # of the gateway, for a stream that nobody reads
SLOWEST_S = 2.0
# Blanks are answered in blanks, and those are not moderated.
LONG = {"model": "policy", "messages": [{"role": "user", "content": " "}], "stream": True}

Start = Callable[..., Stack]


@pytest.fixture
def start(tmp_path: Path, redis_server: RedisServer) -> Iterator[Start]:
    """A stack whose engine sends as fast as it is read."""
    with ExitStack() as stopping:

        def started(**settings: Any) -> Stack:
            long = {"serving_max_model_len": 100_000, "serving_max_in_flight": STALLED + 8}
            stack = Stack(tmp_path, redis_server, pace_ms=0, **long, **settings)
            stopping.callback(stack.stop)
            return stack

        yield started


async def stream(stack: Stack, key: str, *, tokens: int) -> socket.socket:
    """Has asked for a stream, and has the beginning of it. Its kernel holds little for it."""
    loop, client = asyncio.get_running_loop(), socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await loop.sock_connect(client, (stack.plan.host, stack.plan.port))
    await loop.sock_sendall(client, http_request(key, LONG | {"max_tokens": tokens}))
    assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
    return client


async def engine(stack: Stack) -> dict[str, int]:
    """What the engine has under way, and has sent."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{stack.mock_url}/healthz") as response,
    ):
        counts: dict[str, int] = await response.json()
    return counts


async def stalled(stack: Stack) -> int:
    """Bytes that the engine has sent, once it sends no more."""
    before, now = -1, 0
    while now != before:
        await asyncio.sleep(1)
        before, now = now, (await engine(stack))["num_streamed_bytes"]
    return now


async def test_clients_that_do_not_read_hold_little_and_are_broken_off(start: Start) -> None:
    timeout_s = 12
    stack = start(serving_client_write_timeout_s=timeout_s)
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="users", scopes=("infer",))
        stalling, _ = auth.create_key(
            client, name="stalling", scopes=("infer",), max_concurrent=STALLED
        )
    await ready(stack.plan.url)
    before = await latencies(stack, key, count=200)
    base = rss_bytes(stack.gateway)

    held = await asyncio.gather(*(stream(stack, stalling, tokens=TOKENS) for _ in range(STALLED)))
    with pytest.raises(aiohttp.ClientResponseError, match="429"):
        await latencies(stack, stalling, count=1)
    sent = await stalled(stack) / STALLED
    each = (rss_bytes(stack.gateway) - base) / STALLED
    beside = await latencies(stack, key, count=200)
    assert each < MOST_BYTES
    assert beside[-1] < SLOWEST_S

    deadline = time.monotonic() + 2 * timeout_s
    while (await engine(stack))["num_streams"]:
        assert time.monotonic() < deadline, "the engine still works for clients that do not read"
        await asyncio.sleep(0.2)
    await latencies(stack, stalling, count=1)  # the key may ask again
    for one in held:
        one.close()
    await ready(stack.plan.url)
    with connect(stack.redis.url) as client:
        logged = [event for _, event in eventlog.read(client, "completions")]
    broken = [e for e in logged if isinstance(e, Completion) and not e.complete]
    assert len(broken) == STALLED
    assert all(len(event.choices[0].token_ids) < TOKENS for event in broken)
    sys.stdout.write(
        f"{STALLED} clients that do not read: {each / 1e3:.0f} KB of the gateway each, the engine "
        f"stopped after {sent / 1e6:.1f} MB; p50/p99 ms of others before, beside: {shown(before)}, "
        f"{shown(beside)}\n"
    )


async def test_a_client_that_reads_slowly_gets_the_whole_answer(start: Start) -> None:
    """So slowly that nothing leaves the gateway's own buffer for longer than the time-out: the kernel
    lets it write again when half of what it may hold (64 KiB) has gone."""
    timeout_s, tokens, bytes_per_s = 1, 1_000, 12_000
    stack = start(serving_client_write_timeout_s=timeout_s)
    with connect(stack.redis.url) as client:
        key, _ = auth.create_key(client, name="slow", scopes=("infer",))
    await ready(stack.plan.url)
    reader, loop = await stream(stack, key, tokens=tokens), asyncio.get_running_loop()
    body, began = b"", time.monotonic()
    while not body.endswith(b"0\r\n\r\n"):
        await asyncio.sleep(max(0.0, began + len(body) / bytes_per_s - time.monotonic()))
        data = await loop.sock_recv(reader, 1_000)
        assert data, f"broken off after {len(body)} bytes"
        body += data
    reader.close()
    assert body.count(b'"delta":{') == tokens
    assert b"data: [DONE]\n\n" in body
    sys.stdout.write(f"{len(body)} bytes in {time.monotonic() - began:.0f} s, whole\n")
