from __future__ import annotations

from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from feedback.errors import Unavailable
from moderation.app import create_app
from moderation.backends.openai_api import OpenAiApi
from moderation.categories import CATEGORIES
from moderation.settings import ModerationSettings


class OpenAi:
    """Flags harassment at 0.3, as OpenAI's own thresholds may."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.app = web.Application()
        self.app.router.add_post("/v1/moderations", self._moderate)

    async def _moderate(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append((request.headers.get("authorization", ""), body))
        if body["input"] == ["slow down"]:
            return web.json_response({"error": {"message": "Rate limit"}}, status=429)
        scores = {**dict.fromkeys(CATEGORIES, 0.01), "harassment": 0.3, "violence": 0.6}
        result = {
            "flagged": True,
            "categories": {name: name == "harassment" for name in CATEGORIES},
            "category_scores": scores,
            "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
        }
        results = [result for _ in body["input"]]
        model = "omni-moderation-2024-09-26"
        return web.json_response({"id": "modr-1", "model": model, "results": results})


async def test_openai_s_own_flags_count_where_the_operator_has_no_threshold() -> None:
    fake = OpenAi()
    async with TestServer(fake.app) as server:
        settings = ModerationSettings(
            backend="openai",
            backend_url=str(server.make_url("")),
            backend_key="sk-secret",
            flag={"violence": 0.55},
        )
        app = create_app(settings)
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://moderation") as client,
        ):
            answer = await client.post("/v1/moderations", json={"input": ["a", "b"]})
    assert "sk-secret" not in repr(settings)
    body = answer.json()
    assert body["model"] == "omni-moderation-2024-09-26"
    for result in body["results"]:
        flagged = [name for name in CATEGORIES if result["categories"][name]]
        assert flagged == ["harassment", "violence"]
    asked = {"model": "omni-moderation-latest", "input": ["a", "b"]}
    assert fake.requests == [("Bearer sk-secret", asked)]


async def test_a_refusal_of_openai_is_no_pass() -> None:
    async with TestServer(OpenAi().app) as server:
        backend = OpenAiApi(ModerationSettings(backend_url=str(server.make_url(""))))
        with pytest.raises(Unavailable, match="429: Rate limit"):
            await backend.score(["slow down"])
        await backend.close()
