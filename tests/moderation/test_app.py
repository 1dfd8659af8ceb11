from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from moderation.categories import CATEGORIES, SCORED

VIOLENT = "I am going to stab him to death tomorrow."


@pytest.fixture
async def session(server_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=server_url) as opened:
        yield opened


async def _post(session: aiohttp.ClientSession, body: Any) -> tuple[int, dict[str, Any]]:
    async with session.post("/v1/moderations", json=body) as response:
        return response.status, await response.json()


async def test_one_text_gets_one_result_in_openais_shape(session: aiohttp.ClientSession) -> None:
    status, content = await _post(session, {"input": VIOLENT, "model": "omni-moderation-latest"})
    assert status == 200
    assert content["id"].startswith("modr-")
    assert content["model"] == "hone-moderation-4"
    (result,) = content["results"]
    assert result["flagged"] is True
    assert result["categories"]["violence"] is True
    assert set(result["categories"]) == set(result["category_scores"]) == set(CATEGORIES)
    applied = result["category_applied_input_types"]
    assert [name for name in CATEGORIES if applied[name] == ["text"]] == list(SCORED)


async def test_a_list_gets_one_result_per_text_in_order(session: aiohttp.ClientSession) -> None:
    _, content = await _post(session, {"input": ["How do I bake bread?", VIOLENT, "Hello"]})
    assert [result["flagged"] for result in content["results"]] == [False, True, False]


async def test_parts_are_one_input_and_pictures_are_refused(session: aiohttp.ClientSession) -> None:
    part = {"type": "text", "text": VIOLENT}
    status, content = await _post(session, {"input": [{"type": "text", "text": "Hello"}, part]})
    assert (status, len(content["results"])) == (200, 1)
    status, content = await _post(session, {"input": [part, {"type": "image_url"}]})
    assert status == 400
    assert "input[1] is an image" in content["error"]["message"]


def test_the_openai_client_reads_the_answer(server_url: str) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    with openai.OpenAI(base_url=f"{server_url}/v1", api_key="none", max_retries=0) as client:
        answer = client.moderations.create(input=["How do I bake bread?", VIOLENT])
        assert [result.flagged for result in answer.results] == [False, True]
        assert answer.results[1].categories.violence
        assert answer.results[1].category_scores.self_harm_intent == 0.0
        with pytest.raises(openai.BadRequestError, match="`input` is empty"):
            client.moderations.create(input=[])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"not json", 400, None),
        (b"[]", 400, None),
        (b"{}", 400, "input"),
        (b'{"input": 7}', 400, "input"),
        (b'{"input": []}', 400, "input"),
        (b'{"input": [1, 2]}', 400, "input"),
        (b'{"input": "a", "model": 3}', 400, "model"),
        (b'{"input": "\\ud800"}', 400, None),
        (b'{"input": [' + b'"a",' * 40 + b'"a"]}', 400, "input"),
        (b'{"input": "' + b"a" * 50_001 + b'"}', 400, "input"),
        (b'{"input": "a", "model": "gpt-4"}', 404, "model"),
        (b'{"input": "' + b"a" * 100_001 + b'"}', 413, None),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_bad_input_is_refused_in_openais_error_shape(
    session: aiohttp.ClientSession, body: bytes, status: int, param: str | None
) -> None:
    async with session.post("/v1/moderations", data=body) as response:
        content = await response.json()
        assert response.status == status
        assert response.headers["x-should-retry"] == "false"
    assert set(content["error"]) == {"message", "type", "param", "code"}
    assert content["error"]["type"] == "invalid_request_error"
    assert content["error"]["param"] == param


async def test_unknown_routes_and_methods_are_in_the_same_shape(
    session: aiohttp.ClientSession,
) -> None:
    async with session.get("/v1/nothing") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"
    async with session.get("/v1/moderations") as response:
        assert response.status == 405
        assert response.headers["allow"] == "POST"
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_categories_say_which_are_scored(session: aiohttp.ClientSession) -> None:
    async with session.get("/v1/moderations/categories") as response:
        data = (await response.json())["data"]
    assert [item["id"] for item in data] == list(CATEGORIES)
    assert [item["id"] for item in data if item["scored"]] == list(SCORED)
    assert {item["threshold"] for item in data if not item["scored"]} == {None}


async def test_the_loop_answers_and_short_texts_pass_while_a_long_one_is_scored(
    session: aiohttp.ClientSession,
) -> None:
    long_text = "The baker folds the dough. " * 1800
    started = time.perf_counter()
    long_one = asyncio.create_task(_post(session, {"input": long_text}))
    await asyncio.sleep(0.1)
    async with session.get("/healthz") as response:
        assert response.status == 200
    assert (await _post(session, {"input": "Hello"}))[0] == 200
    short_s = time.perf_counter() - started
    assert not long_one.done()
    assert (await long_one)[0] == 200
    assert short_s < (time.perf_counter() - started) / 2


async def test_metrics_count_texts_and_flags(session: aiohttp.ClientSession) -> None:
    async def texts() -> float:
        async with session.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        assert any(
            line.startswith('hone_moderation_flagged_total{category="violence"}') for line in lines
        )
        (value,) = [
            line.split()[1] for line in lines if line.startswith("hone_moderation_texts_total")
        ]
        return float(value)

    await _post(session, {"input": VIOLENT})
    before = await texts()
    await _post(session, {"input": ["a", "b"]})
    assert await texts() == before + 2
