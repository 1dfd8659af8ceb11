from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from feedback.errors import BadRequest, Unavailable
from moderation.categories import SCORED
from moderation.client import ModerationClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VIOLENT = "I am going to stab him to death tomorrow."


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_verdicts_come_in_the_order_of_the_texts(
    server_url: str, session: aiohttp.ClientSession
) -> None:
    client = ModerationClient(server_url, session)
    calm, violent = await client.score(["How do I bake bread?", VIOLENT])
    assert calm.flagged == []
    assert "violence" in violent.flagged
    assert set(violent.scores) == set(SCORED)  # what nobody judged has no score


async def test_no_text_needs_no_server(session: aiohttp.ClientSession) -> None:
    assert await ModerationClient("http://127.0.0.1:9", session).score([]) == []


async def test_many_texts_go_in_batches_that_the_server_takes(
    server_url: str, session: aiohttp.ClientSession
) -> None:
    texts = ["Hello"] * 70 + ["x" * 25_000] * 3 + [VIOLENT]
    verdicts = await ModerationClient(server_url, session, timeout_s=60).score(texts)
    assert len(verdicts) == 74
    assert [bool(verdict.flagged) for verdict in verdicts[-2:]] == [False, True]


async def test_the_servers_refusals_come_through_as_what_they_are(
    server_url: str, session: aiohttp.ClientSession
) -> None:
    client = ModerationClient(server_url, session)
    with pytest.raises(BadRequest, match="characters"):
        await client.score(["a" * 60_000])
    with pytest.raises(BadRequest, match="empty") as caught:
        await client.moderate({"input": []})
    assert caught.value.param == "input"


async def test_a_server_that_is_away_is_unavailable(session: aiohttp.ClientSession) -> None:
    client = ModerationClient("http://127.0.0.1:9", session)
    assert not await client.is_ready()
    with pytest.raises(Unavailable, match="moderation serve"):
        await client.score(["Hello"])


async def _gateway_page(_: web.Request) -> web.Response:
    return web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html")


async def _broken(_: web.Request) -> web.Response:
    return web.json_response({"oops": 1}, status=500)


@pytest.mark.parametrize("handler", [_gateway_page, _broken])
async def test_a_broken_server_is_unavailable(
    session: aiohttp.ClientSession, handler: Handler
) -> None:
    app = web.Application()
    app.router.add_post("/v1/moderations", handler)
    async with TestServer(app) as server:
        with pytest.raises(Unavailable):
            await ModerationClient(str(server.make_url("")), session).score(["Hello"])


async def test_is_ready_when_the_server_answers(
    server_url: str, session: aiohttp.ClientSession
) -> None:
    assert await ModerationClient(server_url, session).is_ready()
