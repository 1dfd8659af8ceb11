"""People who ask, judge what they were answered, and try again until it is taken; each remembers what for."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp

from feedback.events import new_id

_NUM_JUDGES = 8
_AWAY = (TimeoutError, aiohttp.ClientError)


class Judges:
    """Every judgement is sent under a key of its own, and again under the same key after a failure; now
    and then also after it was taken, as by a client that did not hear the answer."""

    def __init__(self, url: str, key: str, *, seed: int) -> None:
        self.taken: dict[str, set[str]] = {}  # Idempotency-Key -> ids it was acknowledged under
        self.num_retries = 0
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._rng = random.Random(seed)

    async def judge_until(self, is_over: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:
            judges = [self._judge(session, is_over) for _ in range(_NUM_JUDGES)]
            await asyncio.gather(*judges)

    async def _judge(self, session: aiohttp.ClientSession, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            messages = [{"role": "user", "content": "Hello"}]
            asked = {"model": "policy", "messages": messages, "n": 2}
            answer = await self._send(session, "/v1/chat/completions", asked, {}, is_over)
            if answer is None:
                return
            a, b = ({"completion_id": answer["id"], "index": i} for i in (0, 1))
            body = {"a": a, "b": b, "preference": self._rng.randint(-3, 3)}
            key = new_id("try_")
            for _ in range(2 if self._rng.random() < 0.2 else 1):
                said = await self._send(
                    session,
                    "/v1/feedback/comparisons",
                    body,
                    {"idempotency-key": key},
                    None,  # what was begun is sent until it is taken
                )
                assert said is not None
                self.taken.setdefault(key, set()).add(said["id"])

    async def _send(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
        is_over: asyncio.Event | None,
    ) -> Any:
        """The answer; None when it is over before there is one."""
        while is_over is None or not is_over.is_set():
            try:
                async with session.post(self._url + path, json=body, headers=headers) as response:
                    if response.status in (200, 201):
                        return await response.json()
                    said = await response.text()
                    assert response.status in (429, 500, 503), said
            except _AWAY:
                pass
            self.num_retries += 1
            await asyncio.sleep(0.1)
        return None
