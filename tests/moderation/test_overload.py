from __future__ import annotations

import asyncio

import httpx2

from moderation.app import create_app
from moderation.settings import ModerationSettings


async def test_requests_over_the_bound_are_refused_at_once_and_may_be_retried() -> None:
    app = create_app(ModerationSettings(max_pending=2))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://moderation") as client:
        body = {"input": "The baker folds the dough. " * 200}
        answers = await asyncio.gather(
            *(client.post("/v1/moderations", json=body) for _ in range(5))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-should-retry"] == "true"
        # The refused ones left nothing behind: the next request is taken.
        assert (await client.post("/v1/moderations", json=body)).status_code == 200


async def test_a_raised_flag_threshold_is_used() -> None:
    app = create_app(ModerationSettings(flag={"violence": None}))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://moderation") as client:
        body = {"input": "I am going to stab him to death tomorrow."}
        (result,) = (await client.post("/v1/moderations", json=body)).json()["results"]
        assert result["category_scores"]["violence"] > 0.5
        assert result["categories"]["violence"] is False
