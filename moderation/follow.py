"""Keeps a server on the version that the registry wants, without a pause.

Every half second it looks. A version is loaded and tried beside the one that serves, and takes its place
between two requests. What cannot be loaded is logged, counted and not tried again for a while; Redis away:
what serves goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import redis

from feedback.connection import connect
from feedback.errors import HoneError
from moderation import artifact
from moderation.backends.backend import Backend
from moderation.backends.onnx import OnnxBackend
from moderation.metrics import Metrics
from moderation.versions import ModerationRecord, Versions

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_REDIS_S = 2.0
_AGAIN_AFTER_S = 10.0  # before a version that was refused is tried again


def of(
    redis_url: str, backend: Backend, *, put: Callable[[OnnxBackend], None], metrics: Metrics
) -> Follower:
    """The follower of a server whose backend is our classifier."""
    assert isinstance(backend, OnnxBackend)
    versions = Versions(connect(redis_url, timeout_s=_REDIS_S))
    return Follower(versions, on_board=backend, put=put, metrics=metrics)


class Follower:
    """One per server. `on_board` serves until another version is wanted, and when it is wanted again."""

    def __init__(
        self,
        versions: Versions,
        *,
        on_board: OnnxBackend,
        put: Callable[[OnnxBackend], None],
        metrics: Metrics,
    ) -> None:
        self._versions = versions
        self._on_board = on_board
        self._put = put
        self._metrics = metrics
        self._digest = ""  # of what serves; on board has none
        self._refused: dict[str, float] = {}  # digest -> when
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, so that a server that comes late begins with what the others serve; then for ever."""
        await self.look()
        self._task = asyncio.create_task(self._forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Serve what is wanted, if it can be."""
        try:
            wanted = (await asyncio.to_thread(self._versions.live)).wanted
        except (redis.RedisError, OSError) as error:
            log.debug("redis is away: %s", error)
            return
        if wanted.digest == self._digest:
            return
        if time.monotonic() - self._refused.get(wanted.digest, float("-inf")) < _AGAIN_AFTER_S:
            return
        try:
            backend = await asyncio.to_thread(self._load, wanted)
        except HoneError as error:
            log.error("%s is not served: %s", wanted.version, error.message)
            self._refused[wanted.digest] = time.monotonic()
            self._metrics.swaps.labels("refused").inc()
            return
        self._put(backend)
        self._digest = wanted.digest
        self._metrics.swaps.labels("done").inc()
        log.info("%s serves", wanted.version)

    def _load(self, record: ModerationRecord) -> OnnxBackend:
        if record.path is None:
            return self._on_board
        encoder = self._on_board.encoder
        return self._on_board.beside(
            artifact.load(Path(record.path), digest=record.digest, encoder=encoder)
        )

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.look()
