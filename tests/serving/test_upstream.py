"""Whose fault it is that an answer is not over in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web

from feedback.errors import Unavailable
from serving.engines import Engine
from serving.registry import PolicyRecord
from serving.routing import Target
from serving.upstream import Upstream
from tests.serving.fake_engine import TOKEN, Served

TARGET = Target(
    record=PolicyRecord(version="policy-0001", kind="base", path="", digest="b" * 64, created=1.0),
    alias=None,
)


class Endless(Served):
    """A stream that does not end."""

    pause_s = 0.0  # between two chunks

    def routes(self) -> None:
        self.app.router.add_post("/v1/completions", self._generate)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b'data: {"choices":[]}\n\n')
            await asyncio.sleep(self.pause_s)


@pytest.fixture
def endless() -> Iterator[Endless]:
    served = Endless()
    served.start()
    yield served
    served.stop()


async def read(upstream: Upstream, *, every_s: float) -> None:
    async for _ in upstream.events():
        await asyncio.sleep(every_s)


async def time_is_up(url: str, *, read_every_s: float) -> list[bool]:
    """Read such a stream until its time is up. What `on_close` was told: whether the engine failed."""
    told: list[bool] = []
    async with aiohttp.ClientSession() as session:
        engine = Engine(url, TOKEN, session, request_timeout_s=2)
        response = await engine.open("/v1/completions", b"{}")
        upstream = Upstream(response, target=TARGET, on_close=told.append)
        await upstream.begin()
        with pytest.raises(Unavailable):
            await read(upstream, every_s=read_every_s)
        upstream.close()
    return told


async def test_a_client_that_reads_too_slowly_is_no_failure_of_the_engine(endless: Endless) -> None:
    assert await time_is_up(endless.url, read_every_s=0.6) == [False]


async def test_an_engine_that_is_too_slow_has_failed(endless: Endless) -> None:
    endless.pause_s = 0.6
    assert await time_is_up(endless.url, read_every_s=0.0) == [True]
