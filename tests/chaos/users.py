"""People who ask without a pause, whole and streamed, and remember what they were told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import redis

from feedback import eventlog
from feedback.events import Completion

_NUM_USERS = 8


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One that was acknowledged: the whole body of a 200, or a stream that said [DONE]."""

    id: str
    text: str
    versions: frozenset[str]  # all that its header, its `model` and its fingerprint name
    is_stream: bool
    asked: float  # monotonic seconds
    ended: float


class Users:
    """Every other one streams."""

    def __init__(self, url: str, key: str, *, pause_s: float = 0.05, **body: Any) -> None:
        self.answers: list[Answer] = []
        self.refused: list[tuple[int, Any]] = []  # status and body of what was no 200
        self.broken: list[str] = []  # what each stream without [DONE] said last
        self.num_cut = 0  # connections that failed or were broken off
        self.num_streaming = 0  # streams at this moment that have said something and go on
        self._url = f"{url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._pause_s = pause_s  # after a failure
        messages = [{"role": "user", "content": "Hello"}]
        self._body = {"model": "policy", "messages": messages, "store": True, **body}

    @property
    def num_failed(self) -> int:
        return len(self.refused) + len(self.broken) + self.num_cut

    def figures(self) -> str:
        return (
            f"{len(self.answers)} acknowledged, {len(self.refused)} refused, "
            f"{len(self.broken)} streams ended without [DONE], {self.num_cut} connections cut"
        )

    async def are_answered(self, *, within_s: float = 30) -> None:
        """Until so many answers came that at least one was asked for just now."""
        enough = len(self.answers) + 2 * _NUM_USERS
        async with asyncio.timeout(within_s):
            while len(self.answers) < enough:
                await asyncio.sleep(0.02)

    async def are_answered_by(self, version: str, *, within_s: float) -> None:
        """Until one was, by that alone."""
        async with asyncio.timeout(within_s):
            while not any(answer.versions == {version} for answer in self.answers):
                await asyncio.sleep(0.02)

    async def ask_until(self, is_over: asyncio.Event) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            users = [self._user(session, is_over, is_stream=n % 2 == 0) for n in range(_NUM_USERS)]
            await asyncio.gather(*users)

    async def _user(
        self, session: aiohttp.ClientSession, is_over: asyncio.Event, *, is_stream: bool
    ) -> None:
        while not is_over.is_set():
            num_failed = self.num_failed
            try:
                await self._ask(session, is_stream=is_stream)
            except (TimeoutError, aiohttp.ClientError):
                self.num_cut += 1
            if self.num_failed > num_failed:
                await asyncio.sleep(self._pause_s)

    async def _ask(self, session: aiohttp.ClientSession, *, is_stream: bool) -> None:
        body, asked = {**self._body, "stream": is_stream}, time.monotonic()
        timeout = aiohttp.ClientTimeout(total=60)
        async with session.post(self._url, json=body, timeout=timeout) as response:
            if response.status != 200:
                self.refused.append((response.status, orjson.loads(await response.read())))
            elif is_stream:
                await self._stream(response, asked)
            else:
                said = orjson.loads(await response.read())
                text = said["choices"][0]["message"]["content"]
                self._take(response, [said], text=text, is_stream=False, asked=asked)

    async def _stream(self, response: aiohttp.ClientResponse, asked: float) -> None:
        body = await self._read(response)
        lines = [line[6:] for line in body.split(b"\n\n") if line.startswith(b"data: ")]
        if not lines or lines[-1] != b"[DONE]":
            self.broken.append(lines[-1].decode() if lines else "")
            return
        chunks = [orjson.loads(line) for line in lines[:-1]]
        pieces = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]]
        self._take(response, chunks, text="".join(pieces), is_stream=True, asked=asked)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = await response.content.readany()
        self.num_streaming += 1
        try:
            return body + await response.read()
        finally:
            self.num_streaming -= 1

    def _take(
        self,
        response: aiohttp.ClientResponse,
        said: list[Any],
        *,
        text: str,
        is_stream: bool,
        asked: float,
    ) -> None:
        versions = {response.headers["x-policy-version"]}
        for each in said:
            versions |= {each["model"], each["system_fingerprint"].rpartition("-")[0]}
        answer = Answer(
            id=said[0]["id"],
            text=text,
            versions=frozenset(versions),
            is_stream=is_stream,
            asked=asked,
            ended=time.monotonic(),
        )
        self.answers.append(answer)


def assert_the_log_agrees(client: redis.Redis, users: Users) -> list[Completion]:
    """Each acknowledged answer is in the log once, whole, word by word, of the version that it named.
    Returns what is in the log."""
    events = [event for _, event in eventlog.read(client, "completions")]
    logged = {event.id: event for event in events if isinstance(event, Completion)}
    twice = [name for name, count in Counter(event.id for event in events).items() if count > 1]
    assert twice == []
    assert [answer.id for answer in users.answers if answer.id not in logged] == []
    for answer in users.answers:
        event = logged[answer.id]
        assert event.complete
        assert answer.versions == {event.version}
        if not event.choices[0].blocked:  # of those moderation withheld the text
            assert answer.text == event.choices[0].text
    return list(logged.values())
