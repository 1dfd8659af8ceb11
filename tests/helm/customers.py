"""People who ask through a Service and judge what they were answered, and what became of every request.

They try nothing again but a judgement after a 503, and that is counted: whatever a restart drops is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

_TIMEOUT = aiohttp.ClientTimeout(total=180)


class _Refused(Exception):
    """Moderation refused the prompt: an answer too."""


@dataclass
class Tally:
    """Of one stretch of time."""

    outcomes: Counter[str] = field(default_factory=Counter)  # by kind, those that went well
    failures: list[str] = field(default_factory=list)
    judged: set[str] = field(default_factory=set)  # ids of judgements that were taken
    num_asked_again: int = 0
    longest_s: float = 0.0

    @property
    def num_requests(self) -> int:
        return self.outcomes.total() + len(self.failures)


class Customers:
    """So many without a pause; every second one opens a connection for each request, the others keep theirs."""

    def __init__(self, url: str, key: str, *, count: int = 8, seed: int = 0) -> None:
        self.tally = Tally()
        self._url, self._count = url, count
        self._headers = {"authorization": f"Bearer {key}"}
        self._random = random.Random(seed)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Tally]:
        """In the background; the tally is complete afterwards."""
        self.tally, is_over = Tally(), asyncio.Event()
        task = asyncio.create_task(self._ask_until(is_over))
        try:
            yield self.tally
        finally:
            is_over.set()
            await task

    async def _ask_until(self, is_over: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._one(is_over, keeps_connection=bool(number % 2)))

    async def _one(self, is_over: asyncio.Event, *, keeps_connection: bool) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=not keeps_connection)
        async with aiohttp.ClientSession(
            self._url, connector=connector, headers=self._headers, timeout=_TIMEOUT
        ) as session:
            while not is_over.is_set():
                kind = self._random.choice(("whole", "stream", "moderated"))
                if kind == "stream":
                    await self._counted("stream", self._stream(session))
                elif kind == "moderated":
                    await self._counted("moderated", self._moderated(session))
                elif answer := await self._counted("whole", self._whole(session)):
                    # A random model says much; nobody sees, or judges, what moderation withholds.
                    if answer["choices"][0]["finish_reason"] != "content_filter":
                        said = await self._counted("judged", self._judge(session, answer["id"]))
                        if said:
                            self.tally.judged.add(said["id"])
                await asyncio.sleep(self._random.uniform(0.0, 0.3))

    async def _counted(self, kind: str, request: Any) -> Any:
        """What it says, None after a failure."""
        began = time.monotonic()
        try:
            said = await request
        except _Refused:  # a word of chance may read like one that hurts
            self.tally.outcomes["refused"] += 1
            return None
        except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
            at = time.strftime("%H:%M:%S")
            self.tally.failures.append(f"{at} {kind}: {type(error).__name__} {error}")
            return None
        finally:
            self.tally.longest_s = max(self.tally.longest_s, time.monotonic() - began)
        self.tally.outcomes[kind] += 1
        return said

    async def _whole(self, session: aiohttp.ClientSession) -> Any:
        return await _post(session, "/v1/chat/completions", self._question(max_tokens=8))

    async def _judge(self, session: aiohttp.ClientSession, completion: str) -> Any:
        """Again after a 503, as the API's errors ask for: only Redis may know the answer."""
        body = {"completion_id": completion, "index": 0, "thumb": "up"}
        for _ in range(30):
            async with session.post("/v1/feedback/ratings", json=body) as response:
                if response.status != 503:
                    return await _said(response)
            self.tally.num_asked_again += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
        raise TimeoutError("a judgement was not taken")

    async def _moderated(self, session: aiohttp.ClientSession) -> Any:
        text = f"a lovely day {self._random.getrandbits(64):x}"
        return await _post(session, "/v1/moderations", {"input": text})

    async def _stream(self, session: aiohttp.ClientSession) -> bytes:
        body = self._question(max_tokens=48) | {"stream": True}
        async with session.post("/v1/chat/completions", json=body) as response:
            whole = await response.read()
            if response.status == 400 and b'"content_policy_violation"' in whole:
                raise _Refused
            assert response.status == 200, f"{response.status} {whole[:300]!r}"
            assert whole.endswith(b"data: [DONE]\n\n"), whole[-200:]
            assert b'"error"' not in whole, whole[-400:]
            return whole

    def _question(self, *, max_tokens: int) -> dict[str, Any]:
        name = f"{self._random.getrandbits(32):08x}"
        messages = [{"role": "user", "content": f"Hello {name}"}]
        asked = {"model": "policy", "messages": messages, "user": name}
        return asked | {"max_tokens": max_tokens, "store": True}


async def _post(session: aiohttp.ClientSession, path: str, body: Any) -> Any:
    async with session.post(path, json=body) as response:
        return await _said(response)


async def _said(response: aiohttp.ClientResponse) -> Any:
    said = await response.read()
    if response.status == 400 and b'"content_policy_violation"' in said:
        raise _Refused
    assert response.status in (200, 201), f"{response.status} {said[:300]!r}"
    return orjson.loads(said)
