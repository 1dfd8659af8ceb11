"""`kill -9`, again and again, under load: no acknowledged answer is lost or doubled, no stream lies.

HONE_CHAOS_KILLS=20 kills each part so often; by default, a few times.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from feedback import eventlog
from feedback.connection import connect
from feedback.events import Completion
from serving import auth
from serving.bench.mock import WORDS
from tests.chaos.stack import Stack, ready
from tests.conftest import RedisServer

KILLS = int(os.environ.get("HONE_CHAOS_KILLS", "3"))  # of each part
ANSWER = "".join(WORDS)


@pytest.fixture
def stack(tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:
    running = Stack(tmp_path, redis_server)
    yield running
    running.stop()


class Users:
    """Ask without a pause, whole and streamed, and remember what was acknowledged."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self.acknowledged: list[str] = []
        self.lies: list[str] = []
        self.num_failed = 0

    async def ask_until(self, is_over: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session:
            users = [self._user(session, is_over, is_stream=n % 2 == 0) for n in range(8)]
            await asyncio.gather(*users)

    async def _user(
        self, session: aiohttp.ClientSession, is_over: asyncio.Event, *, is_stream: bool
    ) -> None:
        while not is_over.is_set():
            try:
                await (self._stream(session) if is_stream else self._whole(session))
            except (TimeoutError, aiohttp.ClientError):
                self.num_failed += 1
                await asyncio.sleep(0.05)

    async def _whole(self, session: aiohttp.ClientSession) -> None:
        async with self._post(session, stream=False) as response:
            response.raise_for_status()
            answer = orjson.loads(await response.read())
        if answer["choices"][0]["message"]["content"] != ANSWER:
            self.lies.append(str(answer))
        self.acknowledged.append(answer["id"])

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        async with self._post(session, stream=True) as response:
            response.raise_for_status()
            body = (await response.read()).decode()
        *lines, last = [line[6:] for line in body.split("\n\n") if line.startswith("data: ")]
        if last != "[DONE]":
            self.num_failed += 1  # it says so itself, or broke off
            return
        chunks = [orjson.loads(line) for line in lines]
        said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
        if said != ANSWER:
            self.lies.append(body)
        self.acknowledged.append(chunks[0]["id"])

    def _post(self, session: aiohttp.ClientSession, *, stream: bool) -> Any:
        body = {"model": "policy", "messages": [{"role": "user", "content": "Hello"}]}
        return session.post(
            self._url,
            json=body | {"stream": stream, "store": True},
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=20),
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["gateway", "engine", "redis"])
async def test_nothing_acknowledged_is_lost_or_doubled_and_no_stream_lies(
    stack: Stack, part: str
) -> None:
    kill: Callable[[], None] = getattr(stack, f"kill_{part}")
    with connect(stack.redis.url) as client:
        secret, _ = auth.create_key(client, name="users", scopes=("infer",))
    await ready(stack)
    users, is_over = Users(stack.plan.url, secret), asyncio.Event()
    asking = asyncio.create_task(users.ask_until(is_over))
    num_before = 0
    for _ in range(KILLS):
        await asyncio.sleep(0.7)
        await asyncio.to_thread(kill)
        await ready(stack)
        await asyncio.sleep(0.7)
        assert len(users.acknowledged) > num_before, "it does not answer again"
        num_before = len(users.acknowledged)
    is_over.set()
    await asking
    await ready(stack)

    with connect(stack.redis.url) as client:
        logged = [event for _, event in eventlog.read(client, "completions")]
    assert users.lies == []
    counts = Counter(event.id for event in logged)
    assert [i for i in users.acknowledged if counts[i] != 1] == []
    assert max(counts.values()) == 1
    whole = {e.id for e in logged if isinstance(e, Completion) and e.complete}
    assert set(users.acknowledged) <= whole
    for event in logged:
        assert isinstance(event, Completion)
        text = event.choices[0].text
        assert text == ANSWER if event.complete else ANSWER.startswith(text)
    figures = f"{len(users.acknowledged)} acknowledged, {users.num_failed} failed"
    sys.stdout.write(f"{part}: {KILLS} kills, {figures}\n")
