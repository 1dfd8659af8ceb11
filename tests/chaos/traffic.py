"""Mixed traffic at full speed: everything that a gateway is asked in an ordinary day, all at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson

from tests.chaos.stack import HELLO

# Those that are meant to fail too: a refused request must not leave anything behind either.
EXPECTED = {200, 201, 400, 401, 404}


class Traffic:
    """So many clients without a pause; every end user, session and Idempotency-Key is a new one."""

    def __init__(self, url: str, secrets: list[str], *, seed: int) -> None:
        self.num_requests = 0
        self.outcomes: Counter[str] = Counter()  # "whole 200" and the like
        self._url, self._secrets, self._random = url, secrets, random.Random(seed)
        self._stored: list[tuple[str, str]] = []  # completions to judge, and whose they are

    async def run(self, is_over: asyncio.Event, *, num_clients: int) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._url, connector=connector) as session:
            await asyncio.gather(*(self._client(session, is_over) for _ in range(num_clients)))

    @property
    def unexpected(self) -> dict[str, int]:
        return {k: n for k, n in self.outcomes.items() if int(k.split()[-1]) not in EXPECTED}

    async def _client(self, session: aiohttp.ClientSession, is_over: asyncio.Event) -> None:
        kinds: dict[Callable[[aiohttp.ClientSession], Awaitable[None]], int] = {
            self._whole: 30,
            self._stream: 25,
            self._twice: 10,
            self._refused: 15,
            self._left: 10,
            self._judged: 9,
            self._scraped: 1,
        }
        while not is_over.is_set():
            (kind,) = self._random.choices(list(kinds), list(kinds.values()))
            await kind(session)

    async def _whole(self, session: aiohttp.ClientSession) -> None:
        secret, body = self._anyone(store=self._random.random() < 0.7)
        status, answer = await self._post(session, "whole", body, secret)
        if status == 200 and body["store"]:
            self._stored = [*self._stored[-20:], (orjson.loads(answer)["id"], secret)]

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        secret, body = self._anyone(stream=True)
        _, answer = await self._post(session, "stream", body, secret)
        assert answer.endswith(b"data: [DONE]\n\n"), answer[-200:]

    async def _twice(self, session: aiohttp.ClientSession) -> None:
        secret, body = self._anyone()
        again = {"idempotency-key": self._name()}
        _, first = await self._post(session, "idempotent", body, secret, again)
        _, second = await self._post(session, "replayed", body, secret, again)
        if first != second:  # Redis, on a busy disk, took longer than the gateway waits for it
            self._count("answered anew", 200)

    async def _refused(self, session: aiohttp.ClientSession) -> None:
        secret, body = self._anyone()
        wrong, key = self._random.choice(
            [
                (body | {self._name(): 1}, secret),  # a field nobody knows
                (body | {"model": self._name()}, secret),
                (body | {"max_tokens": 0}, secret),
                (body, f"sk-{self._name()}"),
                (b"{" + self._name().encode(), secret),
            ]
        )
        status, _ = await self._post(session, "refused", wrong, key)
        assert status >= 400

    async def _left(self, session: aiohttp.ClientSession) -> None:
        """Has seen the beginning of a stream, and goes."""
        secret, body = self._anyone(stream=True)
        async with self._asked(session, body, secret) as response:
            await response.content.readany()
            response.close()
        self._count("left", response.status)

    async def _judged(self, session: aiohttp.ClientSession) -> None:
        if not self._stored:
            return
        completion_id, secret = self._random.choice(self._stored)
        body = {"completion_id": completion_id, "likert": 5, "labeler": self._name()}
        await self._post(session, "judged", body, secret, path="/v1/feedback/ratings")

    async def _scraped(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/metrics") as response:
            await response.read()
        self._count("scraped", response.status)

    async def _post(
        self,
        session: aiohttp.ClientSession,
        kind: str,
        body: Any,
        secret: str,
        headers: dict[str, str] | None = None,
        *,
        path: str = "/v1/chat/completions",
    ) -> tuple[int, bytes]:
        async with self._asked(session, body, secret, headers, path=path) as response:
            answer = await response.read()
        self._count(kind, response.status)
        return response.status, answer

    def _asked(
        self,
        session: aiohttp.ClientSession,
        body: Any,
        secret: str,
        headers: dict[str, str] | None = None,
        *,
        path: str = "/v1/chat/completions",
    ) -> Any:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        return session.post(path, data=data, headers=sent | (headers or {}))

    def _anyone(self, **fields: Any) -> tuple[str, dict[str, Any]]:
        """A key, and a request of somebody who was never seen before."""
        secret = self._random.choice(self._secrets)
        text = "Hello " * self._random.randint(1, 200)
        names = {"user": self._name(), "prompt_cache_key": self._name()}
        names["metadata"] = {"day": self._name()}
        said = {"messages": [{"role": "user", "content": text}]}
        return secret, HELLO | said | names | {"store": True} | fields

    def _name(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _count(self, kind: str, status: int) -> None:
        self.num_requests += 1
        self.outcomes[f"{kind} {status}"] += 1
