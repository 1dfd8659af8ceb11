"""Looks every few seconds, and hands what it saw last to Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.registry import Collector

from serving.exported import own, shared
from serving.exported.families import Sample, metrics
from serving.oversight.round_files import RoundFiles
from serving.refresh import AWAY

if TYPE_CHECKING:
    from serving.gateway import Gateway

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_MODERATION_S = 3.0  # a moderation server that hangs holds nothing up


class Exporter(Collector):
    """One per gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen: list[Sample] = []
        self._task: asyncio.Task[None] | None = None
        gateway.metrics.registry.register(self)

    async def __aenter__(self) -> Exporter:
        self._task = asyncio.create_task(self._forever())
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def collect(self) -> Iterable[Metric]:
        """What was seen last: a scrape waits for nobody."""
        return metrics(self._seen)

    async def look(self) -> None:
        """Once. What cannot be seen is left out, so that nothing stale is said."""
        has_moderation = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MODERATION_S):
                has_moderation = await self._gateway.moderation.is_ready()
        on_disk = await asyncio.to_thread(lambda: list(own.on_disk(self._gateway)))
        of_redis = await self._of_redis()
        self._seen = [
            *own.samples(self._gateway, has_moderation=has_moderation),
            *on_disk,
            *of_redis,
        ]

    async def _of_redis(self) -> list[Sample]:
        if not self._gateway.refresher.has_redis:
            return []
        try:
            return await asyncio.to_thread(self._read)
        except AWAY as error:
            log.warning("redis is away, metrics of it are left out: %s", error)
            return []

    def _read(self) -> list[Sample]:
        gateway = self._gateway
        found = shared.samples(
            gateway.redis,
            RoundFiles(gateway.settings.data_dir),
            tenants=gateway.authenticator.tenants(),
            target_per_hour=gateway.settings.labels_per_hour,
            log_keep_s=gateway.feedback_settings.log_keep_s,
        )
        return list(found)

    async def _forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)
