"""Steady traffic while a version is swapped in, and what came of each request."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from training.demo_people import Failed, Person

MIN_REQUESTS = 220
_STREAMS = 8  # requests in flight
_GENTLE_S = 2.0  # pause of each stream before the swap is near: the gate needs the cores
_AFTER_S = 5.0  # goes on this long after the swap
_QUESTION = "Say hello to a new neighbour."


@dataclass(frozen=True, kw_only=True)
class Request:
    started: float  # unix seconds
    took_s: float
    version: str  # as the answer's header says; empty when it failed
    allowed: tuple[str, ...]  # what /policy said was in production just before and just after
    error: str = ""


class Traffic:
    """Asks short questions, several at a time, from `start` until `stop`."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._requests: list[Request] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._near_since: float | None = None  # unix seconds
        self._is_over = False

    def start(self) -> None:
        """Begin, gently. Repeating changes nothing."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(_STREAMS)]

    def swap_is_near(self) -> None:
        """From now on as fast as answers come; what ended before is not counted."""
        if self._near_since is None:
            self._near_since = time.time()

    async def stop(self, *, after_swap_to: str | None) -> dict[str, Any]:
        """End the traffic, once there was enough of it, and say what came of it."""
        self.swap_is_near()
        deadline = time.monotonic() + _AFTER_S
        while self._tasks and (time.monotonic() < deadline or len(self._counted()) < MIN_REQUESTS):
            await asyncio.sleep(0.1)
        self._is_over = True
        await asyncio.gather(*self._tasks)
        counted = self._counted()
        failed = [r for r in counted if r.error]
        answered = [r for r in counted if not r.error]
        return {
            "requests": len(counted),
            "failed": len(failed),
            "errors": sorted({r.error for r in failed}),
            "by_new_version": sum(r.version == after_swap_to for r in answered),
            "header_disagreed_with_policy": sum(r.version not in r.allowed for r in answered),
            "latency_p50_s": _quantile([r.took_s for r in answered], 0.5),
            "latency_p99_s": _quantile([r.took_s for r in answered], 0.99),
        }

    def _counted(self) -> list[Request]:
        since = self._near_since or 0.0
        return [r for r in self._requests if r.started + r.took_s >= since]

    async def _ask_on(self) -> None:
        while not self._is_over:
            request = await self._ask()
            self._requests.append(request)
            if request.error:
                await asyncio.sleep(0.2)  # a refusal is quick; it must not become a flood
            elif self._near_since is None:
                await asyncio.sleep(_GENTLE_S)

    async def _ask(self) -> Request:
        started, clock = time.time(), time.perf_counter()
        version, error = "", ""
        allowed: tuple[str, ...] = ()
        try:
            before = (await self._person.get("/policy"))["production"]["version"]
            _, headers = await self._person.ask(_QUESTION, max_tokens=4, store=False)
            after = (await self._person.get("/policy"))["production"]["version"]
            version, allowed = headers["x-policy-version"], (before, after)
        except (Failed, aiohttp.ClientError, TimeoutError) as problem:
            error = str(problem) or repr(problem)
        return Request(
            started=started,
            took_s=time.perf_counter() - clock,
            version=version,
            allowed=allowed,
            error=error,
        )


def _quantile(values: list[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
