"""Steady streams while a version is swapped in, and what came of each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from serving.bench.load import Answer, quantile
from serving.bench.verdict import judged
from training.demo_people import Failed, Person

MIN_STREAMS = 220
STREAM_TOKENS = 16  # some tenths of a second: there are always some in flight when the alias moves
_IN_FLIGHT = 8
_GENTLE_S = 2.0  # pause of each sender before the swap is near: the gate needs the cores
_AFTER_S = 5.0  # goes on this long after the swap
_QUESTION = "Say hello to a new neighbour."


@dataclass(frozen=True, kw_only=True)
class Stream:
    answer: Answer
    allowed: tuple[str, ...]  # what /policy said was in production just before and just after


class Traffic:
    """Asks for short streams, several at a time, from `start` until `stop`."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._streams: list[Stream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._near_since: float | None = None  # perf_counter seconds, as an answer's
        self._is_over = False

    def start(self) -> None:
        """Begin, gently. Repeating changes nothing."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(_IN_FLIGHT)]

    def swap_is_near(self) -> None:
        """From now on as fast as answers come; what ended before is not counted."""
        if self._near_since is None:
            self._near_since = time.perf_counter()

    async def stop(self, *, after_swap_to: str | None) -> dict[str, Any]:
        """End the traffic, once there was enough of it, and say what came of it."""
        self.swap_is_near()
        deadline = time.monotonic() + _AFTER_S
        while self._tasks and (time.monotonic() < deadline or len(self._counted()) < MIN_STREAMS):
            await asyncio.sleep(0.1)
        self._is_over = True
        await asyncio.gather(*self._tasks)
        return summary(self._counted(), new=after_swap_to)

    def _counted(self) -> list[Stream]:
        since = self._near_since or 0.0
        return [stream for stream in self._streams if stream.answer.ended >= since]

    async def _ask_on(self) -> None:
        while not self._is_over:
            stream = await self._ask()
            self._streams.append(stream)
            if stream.answer.error:
                await asyncio.sleep(0.2)  # a refusal is quick; it must not become a flood
            elif self._near_since is None:
                await asyncio.sleep(_GENTLE_S)

    async def _ask(self) -> Stream:
        began = time.perf_counter()
        try:
            before = (await self._person.get("/policy"))["production"]["version"]
            answer = await self._person.stream(_QUESTION, num_tokens=STREAM_TOKENS)
            after = (await self._person.get("/policy"))["production"]["version"]
        except (Failed, aiohttp.ClientError, TimeoutError) as problem:
            error = str(problem) or repr(problem)
            lost = Answer(began=began, ended=time.perf_counter(), error=error)
            return Stream(answer=lost, allowed=())
        return Stream(answer=answer, allowed=(before, after))


def summary(streams: list[Stream], *, new: str | None) -> dict[str, Any]:
    """What came of the streams. `dropped`: refused, broken off, or shorter than asked for;
    `wrong_version`: a chunk names another version than the header."""
    answers = [stream.answer for stream in streams]
    verdict = judged(answers, {}, num_tokens=STREAM_TOKENS)
    ended = [stream for stream in streams if not stream.answer.error]
    took_s = [stream.answer.ended - stream.answer.began for stream in ended]
    by_new = [a for a in answers if not a.error and a.version == new]
    first_new = min((a.began for a in by_new), default=float("inf"))
    return {
        name: verdict[name]
        for name in ("streams", "dropped", "errors", "wrong_version", "withheld_by_moderation")
    } | {
        "by_new_version": len(by_new),
        "by_old_version_after_the_swap": sum(
            stream.answer.version != new and stream.answer.ended > first_new for stream in ended
        ),
        "header_disagreed_with_policy": sum(s.answer.version not in s.allowed for s in ended),
        "latency_p50_s": quantile(took_s, 0.5),
        "latency_p99_s": quantile(took_s, 0.99),
    }
