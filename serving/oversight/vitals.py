"""What an engine says of itself in vLLM's `/metrics`: KV cache, requests, tokens a second.

Asked for every few seconds: tokens a second are the difference of two looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feedback.errors import HoneError
from serving.engines import Engine
from serving.repeated import Repeated

_EVERY_S = 5.0
_GONE_AFTER_S = 15.0  # figures of an engine that says nothing for so long are not shown
_KV, _RUNNING, _WAITING = (
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)
_WRITTEN, _READ = "vllm:generation_tokens_total", "vllm:prompt_tokens_total"
_WANTED = (_KV, _RUNNING, _WAITING, _WRITTEN, _READ)


@dataclass(frozen=True, kw_only=True)
class Vital:
    """One look, and what came since the one before."""

    seen: float  # unix seconds
    kv_cache_share: float | None  # 0 to 1; the fullest of several cores
    running: int | None  # requests
    waiting: int | None
    tokens_written: float | None  # since the engine started
    tokens_read: float | None
    written_per_s: float | None = None  # None at the first look, and after a restart
    read_per_s: float | None = None


class Vitals:
    """One per gateway process."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._last: dict[str, Vital] = {}
        self._watching = Repeated("the engines' own figures", self.look, every_s=_EVERY_S)

    async def start(self) -> None:
        self._watching.start()

    async def close(self) -> None:
        await self._watching.close()

    def of(self, url: str, *, now: float) -> Vital | None:
        """None: it has said nothing lately."""
        found = self._last.get(url)
        return found if found is not None and now - found.seen < _GONE_AFTER_S else None

    async def look(self) -> None:
        """Ask every engine once."""
        await asyncio.gather(*(self._look(engine) for engine in self._engines))

    async def _look(self, engine: Engine) -> None:
        with contextlib.suppress(HoneError):
            found = parse(await engine.metrics())
            self._last[engine.url] = vital(
                found, before=self._last.get(engine.url), now=time.time()
            )


def parse(text: str) -> dict[str, list[float]]:
    """The wanted samples of Prometheus' text format: a value for each core or model."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if not line.startswith("vllm:"):
            continue
        name = line.split("{", 1)[0].split(" ", 1)[0]
        if name in _WANTED:
            with contextlib.suppress(ValueError):
                found.setdefault(name, []).append(float(line.rsplit(" ", 1)[-1]))
    return found


def vital(found: Mapping[str, list[float]], *, before: Vital | None, now: float) -> Vital:
    """Pure."""
    written, read = _sum(found, _WRITTEN), _sum(found, _READ)
    running, waiting = _sum(found, _RUNNING), _sum(found, _WAITING)
    return Vital(
        seen=now,
        kv_cache_share=max(found[_KV]) if _KV in found else None,
        running=None if running is None else int(running),
        waiting=None if waiting is None else int(waiting),
        tokens_written=written,
        tokens_read=read,
        written_per_s=_rate(written, before.tokens_written if before else None, before, now),
        read_per_s=_rate(read, before.tokens_read if before else None, before, now),
    )


def _sum(found: Mapping[str, list[float]], name: str) -> float | None:
    return sum(found[name]) if name in found else None


def _rate(
    count: float | None, count_before: float | None, before: Vital | None, now: float
) -> float | None:
    if before is None or count is None or count_before is None or count < count_before:
        return None
    return (count - count_before) / max(now - before.seen, 1e-3)
