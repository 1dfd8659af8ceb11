"""Which engine answers which request, and when: every engine full, none over its bound.

1. The longest answer to be expected goes first, so that at the end none runs alone.
2. A request goes to the engine with the fewest answers in flight, as soon as one has room.
3. An engine that fails is left alone until it answers again and holds the version; its requests go to
   the others at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feedback.errors import NotFound, Refused, Unavailable
from serving.engines import Engine

log = logging.getLogger(__name__)

_POLL_S = 0.5
_NOT_LOADED = "policy_not_loaded"  # anything else that an engine refuses stays refused

Prompt = tuple[int, ...]
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Replica:
    """An engine, and what it is known to answer as."""

    engine: Engine
    names: dict[str, str] = field(default_factory=dict)  # version -> `model` of a request

    @property
    def url(self) -> str:
        return self.engine.url


class AnswerLengths:
    """Tokens of earlier answers: what a prompt's next answer is expected to take."""

    def __init__(self) -> None:
        self._sums: Counter[Prompt] = Counter()
        self._counts: Counter[Prompt] = Counter()

    def note(self, prompt: Prompt, lengths: Sequence[int]) -> None:
        self._sums[prompt] += sum(lengths)
        self._counts[prompt] += len(lengths)

    def expected(self, prompt: Prompt) -> float:
        """The mean of this prompt's answers; of all prompts' where it has none."""
        if self._counts[prompt]:
            return self._sums[prompt] / self._counts[prompt]
        return self._sums.total() / max(1, self._counts.total())

    def longest_first(self, prompts: Sequence[Prompt]) -> list[int]:
        """Indices of prompts. Between like answers the longer prompt: it has more to read."""
        return sorted(
            range(len(prompts)), key=lambda i: (-self.expected(prompts[i]), -len(prompts[i]))
        )


def freest(in_flight: Mapping[str, int], *, size: int, bound: int) -> str | None:
    """The engine for a request of `size` answers: the fewest in flight, if they leave room for it.
    A request larger than the bound has an engine to itself."""
    if not in_flight:
        return None
    url = min(in_flight, key=lambda each: in_flight[each])
    has_room = in_flight[url] == 0 or in_flight[url] + size <= bound
    return url if has_room else None


class Dispatch:
    """One batch of requests on its way through the engines."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        version: str,
        size: int,
        concurrency: int,
        look: Callable[[Replica], Awaitable[None]],
        wait_s: float,
    ) -> None:
        """`size` answers a request; at most `concurrency` answers in flight on an engine. `look` sees to
        it that an engine holds what it should and notes its names. With no engine for `wait_s`, or a
        request failing for so long, the last error is raised."""
        self._replicas = {replica.url: replica for replica in replicas}
        self._version = version
        self._size = size
        self._concurrency = concurrency
        self._look = look
        self._wait_s = wait_s
        self._in_flight: Counter[str] = Counter()
        self._answering: dict[asyncio.Task[Body], tuple[int, Replica]] = {}
        self._returning: dict[asyncio.Task[None], Replica] = {}
        self._failed_at: dict[int, float] = {}
        self._last_error: Exception = Unavailable("no engine answers")

    async def run(self, bodies: Sequence[Body], *, order: Sequence[int]) -> list[Body]:
        """The answers, as the bodies stand. They are begun in `order`."""
        waiting = deque(order)
        answers: dict[int, Body] = {}
        for replica in self._replicas.values():
            if self._version not in replica.names:
                self._bring_back(replica, after_s=0)
        try:
            while waiting or self._answering:
                self._begin(waiting, bodies)
                for task in await self._finished():
                    if (done := self._taken(task)) is None:
                        continue
                    number, answer = done
                    if answer is None:
                        waiting.appendleft(number)
                    else:
                        answers[number] = answer
        finally:
            await self._leave()
        return [answers[number] for number in range(len(bodies))]

    def _begin(self, waiting: deque[int], bodies: Sequence[Body]) -> None:
        away = {replica.url for replica in self._returning.values()}
        in_flight = {url: self._in_flight[url] for url in self._replicas if url not in away}
        while waiting:
            url = freest(in_flight, size=self._size, bound=self._concurrency)
            if url is None:
                return
            number, replica = waiting.popleft(), self._replicas[url]
            named = {"model": replica.names[self._version], "cache_salt": self._version}
            answering = replica.engine.completions(bodies[number] | named, version=self._version)
            self._answering[asyncio.create_task(answering)] = (number, replica)
            self._in_flight[url] += self._size
            in_flight[url] += self._size

    async def _finished(self) -> set[asyncio.Task[Any]]:
        """Raises the last error when no engine has come back for `wait_s`."""
        tasks = [*self._answering, *self._returning]
        done, _ = await asyncio.wait(
            tasks,
            timeout=None if self._answering else self._wait_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done:
            raise self._last_error
        return done

    def _taken(self, task: asyncio.Task[Any]) -> tuple[int, Body | None] | None:
        """A request's number with its answer, or with None if it has to be asked again."""
        if task in self._returning:
            del self._returning[task]
            task.result()
            return None
        number, replica = self._answering.pop(task)
        self._in_flight[replica.url] -= self._size
        try:
            return number, task.result()
        except (Unavailable, Refused) as error:
            self._note_failure(number, error)
            log.warning("%s is left alone, its requests go elsewhere: %s", replica.url, error)
            if replica not in self._returning.values():
                self._bring_back(replica, after_s=_POLL_S)
            return number, None

    def _note_failure(self, number: int, error: Unavailable | Refused) -> None:
        now = time.monotonic()
        is_lasting = isinstance(error, Refused) and error.error_code != _NOT_LOADED
        if is_lasting or now - self._failed_at.setdefault(number, now) > self._wait_s:
            raise error
        self._last_error = error

    def _bring_back(self, replica: Replica, *, after_s: float) -> None:
        self._returning[asyncio.create_task(self._until_it_holds(replica, after_s))] = replica

    async def _until_it_holds(self, replica: Replica, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                await self._look(replica)
                if self._version in replica.names:
                    return
                self._last_error = NotFound(f"{self._version} is not loaded on {replica.url}")
            except Unavailable as error:
                self._last_error = error
            await asyncio.sleep(_POLL_S)

    async def _leave(self) -> None:
        """What is still under way: answers nobody waits for after an error, engines still away."""
        for replica in self._returning.values():
            replica.names.clear()
        tasks = [*self._answering, *self._returning]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
