"""What an application does with the openai package, sync and async.

Each test runs with both clients: `settle` awaits what must be awaited, `collect` reads what can be iterated.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import httpx2
import openai
import pytest
from openai.pagination import SyncCursorPage, SyncPage
from openai.types import Completion, Model, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionDeleted, ChatCompletionStoreMessage
from pydantic import BaseModel, TypeAdapter

from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

HELLO: Any = [{"role": "user", "content": "hello there my friend"}]
LONG: Any = [{"role": "user", "content": " ".join(f"word{i}" for i in range(200))}]
SHOUT: Any = {
    "type": "function",
    "function": {
        "name": "shout",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
    },
}


class StoreMessage(ChatCompletionStoreMessage):
    """The type allows only `assistant`; OpenAI's own example of the route answers `user`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]  # type: ignore[assignment]


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, gateway: Running) -> AsyncIterator[Any]:
    kind = openai.OpenAI if request.param == "sync" else openai.AsyncOpenAI
    opened = kind(base_url=f"{gateway.url}/v1", api_key=gateway.secret, max_retries=0, timeout=100)
    yield opened
    await settle(opened.close())


async def settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream] if hasattr(stream, "__aiter__") else list(stream)


async def eventually(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_every_documented_route_answers_with_exactly_its_type(client: Any) -> None:
    """The package believes what a server sends; here its own types check it."""

    async def checked(kind: Any, call: Any) -> Any:
        answer = (await settle(call)).parse()
        answer = await settle(answer)
        TypeAdapter(kind).validate_python(answer.to_dict())
        return answer

    chat, stored = client.chat.completions.with_raw_response, client.chat.completions
    made = await checked(
        ChatCompletion,
        chat.create(model="policy", messages=HELLO, logprobs=True, top_logprobs=1, n=2),
    )
    await checked(
        Completion, client.completions.with_raw_response.create(model="policy", prompt="a")
    )
    await checked(SyncPage[Model], client.models.with_raw_response.list())
    await checked(Model, client.models.with_raw_response.retrieve("policy-0000"))
    moderations = client.moderations.with_raw_response
    await checked(ModerationCreateResponse, moderations.create(input="tea"))
    await checked(SyncCursorPage[ChatCompletion], chat.list())
    await checked(ChatCompletion, chat.retrieve(made.id))
    await checked(ChatCompletion, chat.update(made.id, metadata={"a": "b"}))
    messages = stored.messages.with_raw_response
    await checked(SyncCursorPage[StoreMessage], messages.list(made.id))
    await checked(ChatCompletionDeleted, chat.delete(made.id))


async def test_a_stream_adds_up_to_the_answer(client: Any) -> None:
    stream = await settle(
        client.chat.completions.create(
            model="policy", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    chunks = await collect(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "HELLO THERE MY FRIEND"
    assert chunks[-1].usage.completion_tokens == 4
    text_stream = await settle(client.completions.create(model="policy", prompt="a b", stream=True))
    assert "".join(chunk.choices[0].text for chunk in await collect(text_stream)) == "A B"


async def test_the_package_s_own_stream_helper_builds_the_answer(client: Any) -> None:
    manager = client.chat.completions.stream(model="policy", messages=HELLO)
    if hasattr(manager, "__aenter__"):
        async with manager as stream:
            events = [event.type async for event in stream]
            final = await stream.get_final_completion()
    else:
        with manager as stream:
            events = [event.type for event in stream]
            final = stream.get_final_completion()
    assert "content.done" in events
    assert final.choices[0].message.content == "HELLO THERE MY FRIEND"


async def test_a_tool_is_called_and_its_result_answered(client: Any, engine: FakeEngine) -> None:
    options: dict[str, Any] = {
        "model": "policy",
        "tools": [SHOUT],
        "tool_choice": {"type": "function", "function": {"name": "shout"}},
        "parallel_tool_calls": False,
    }
    first = await settle(client.chat.completions.create(messages=HELLO, **options))
    assert {name: engine.bodies[0][name] for name in options if name != "model"} == {
        name: value for name, value in options.items() if name != "model"
    }
    message = first.choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, first.choices[0].finish_reason) == ("shout", "tool_calls")
    assert json.loads(call.function.arguments) == {"text": "HELLO THERE MY FRIEND"}
    turns = [
        *HELLO,
        message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "it was loud"},
    ]
    second = await settle(client.chat.completions.create(messages=turns, **options))
    assert second.choices[0].message.content == "IT WAS LOUD"
    assert engine.bodies[1]["messages"][1]["tool_calls"][0]["id"] == call.id


async def test_a_streamed_tool_call_is_kept_as_the_whole_one(client: Any) -> None:
    options: dict[str, Any] = {"model": "policy", "messages": HELLO, "tools": [SHOUT]}
    whole = await settle(client.chat.completions.create(**options))
    stream = await settle(client.chat.completions.create(**options, stream=True))
    chunks = await collect(stream)
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or ()]
    assert len(pieces) == 4
    arguments = "".join(piece.function.arguments or "" for piece in pieces)
    assert arguments == whole.choices[0].message.tool_calls[0].function.arguments
    for completion_id in (whole.id, chunks[0].id):
        found = await settle(client.chat.completions.retrieve(completion_id))
        assert found.choices[0].message == whole.choices[0].message
        assert found.choices[0].finish_reason == "tool_calls"


async def test_an_answer_by_a_schema_is_parsed_into_its_type(
    client: Any, engine: FakeEngine
) -> None:
    class Town(BaseModel):
        name: str
        size: Literal["small", "big"]

    engine.says = '{"name": "Ulm", "size": "small"}'
    parsed = await settle(
        client.chat.completions.parse(model="policy", messages=HELLO, response_format=Town)
    )
    assert parsed.choices[0].message.parsed == Town(name="Ulm", size="small")
    asked = engine.bodies[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["schema"]["properties"].keys() == {"name", "size"}


@pytest.mark.parametrize(
    ("kind", "status", "fields", "code", "param"),
    [
        (openai.BadRequestError, 400, {"temperature": 3}, None, "temperature"),
        (openai.BadRequestError, 400, {"extra_body": {"magic": 1}}, "unknown_field", "magic"),
        (openai.NotFoundError, 404, {"model": "gpt-4"}, "model_not_found", "model"),
        (
            openai.APIStatusError,
            413,
            {"messages": [{"role": "user", "content": "x" * 2_000_000}]},
            "request_too_large",
            None,
        ),
    ],
)
async def test_a_bad_request_is_the_error_of_its_kind_and_sent_once(
    client: Any,
    engine: FakeEngine,
    kind: type[openai.APIStatusError],
    status: int,
    fields: dict[str, Any],
    code: str | None,
    param: str | None,
) -> None:
    eager = client.with_options(max_retries=2)
    with pytest.raises(kind) as caught:
        await settle(
            eager.chat.completions.create(**{"model": "policy", "messages": HELLO, **fields})
        )
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert error.type == "invalid_request_error"
    assert error.request_id is not None
    assert error.response.headers["x-should-retry"] == "false"
    assert "x-stainless-retry-count" not in error.request.headers or (
        error.request.headers["x-stainless-retry-count"] == "0"
    )
    assert engine.bodies == []


async def test_a_judgement_that_cannot_be_true_is_a_422(client: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await settle(
            client.post("/feedback/ratings", cast_to=httpx2.Response, body={"completion_id": "x"})
        )
    assert caught.value.type == "invalid_request_error"
    assert "likert" in caught.value.message


async def test_a_wrong_and_a_limited_key_are_told_so(client: Any, gateway: Running) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        await settle(client.with_options(api_key="sk-wrong").models.list())
    assert refused.value.code == "invalid_api_key"
    secret, _ = auth.create_key(
        gateway.redis, name="slow", scopes=("infer",), requests_per_minute=1
    )
    limited = client.with_options(api_key=secret)
    late: list[openai.RateLimitError] = []
    for _ in range(4):  # over two windows at most
        try:
            await settle(limited.models.list())
        except openai.RateLimitError as error:
            late.append(error)
    assert len(late) >= 2
    assert late[0].code == "rate_limit_exceeded"
    assert 0 < int(late[0].response.headers["retry-after"]) <= 60
    assert late[0].response.headers["x-should-retry"] == "true"


async def test_a_failure_of_the_engine_is_retried_by_the_client(
    client: Any, engine: FakeEngine
) -> None:
    engine.fail_next = 2  # the gateway's own second try fails as well
    eager = client.with_options(max_retries=1)
    began = time.monotonic()
    raw = await settle(
        eager.chat.completions.with_raw_response.create(model="policy", messages=HELLO)
    )
    assert raw.retries_taken == 1
    assert (await settle(raw.parse())).choices[0].message.content == "HELLO THERE MY FRIEND"
    assert len(engine.bodies) == 3
    assert time.monotonic() - began > 4  # it came back when it was told to


async def test_a_blocked_prompt_is_not_sent_again(client: Any, moderation: FakeModeration) -> None:
    eager = client.with_options(max_retries=2)
    messages = [{"role": "user", "content": "how do I attack"}]
    with pytest.raises(openai.BadRequestError) as caught:
        await settle(eager.chat.completions.create(model="policy", messages=messages))
    assert caught.value.code == "content_policy_violation"
    assert moderation.inputs == ["how do I attack"]


PART: Any = {"type": "text", "text": "tea and attack"}


@pytest.mark.parametrize(
    ("given", "flagged"),
    [
        ("attack", [True]),
        ("", [False]),
        (["attack", "", "tea"], [True, False, False]),
        ([PART, PART], [True]),  # parts are one input
        ("attack \x00 漢字 😀 \u202e e\u0301", [True]),
        (["x" * 20_000] * 40, [False] * 40),
    ],
    ids=["text", "empty", "texts", "parts", "unicode", "much"],
)
async def test_moderation_takes_every_kind_of_input(
    client: Any, given: Any, flagged: list[bool]
) -> None:
    models = {"omni-moderation-latest": 13, "text-moderation-stable": 11, "text-moderation-001": 7}
    for model, num_categories in models.items():
        answer = await settle(client.moderations.create(input=given, model=model))
        assert [result.flagged for result in answer.results] == flagged
        shown = answer.results[0].to_dict()
        assert len(shown["categories"]) == len(shown["category_scores"]) == num_categories


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "empty"),
        ([1, 2], "send"),
        ({"text": "a"}, "send"),
        ([PART, {"type": "image_url", "image_url": {"url": "x"}}], "is an image"),
        ([PART, {"type": "text"}], "text"),
        (["a"] * 10_000, "10000 texts: send at most"),
        ("x" * 2**20, "characters: send at most"),
    ],
    ids=["nothing", "numbers", "object", "image", "part", "10k", "1MB"],
)
async def test_moderation_says_what_is_wrong_with_an_input(
    client: Any, given: Any, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        await settle(client.with_options(max_retries=2).moderations.create(input=given))
    assert caught.value.param == "input"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_moderation_has_no_model_that_it_does_not_know(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await settle(client.moderations.create(input="a", model="gpt-4"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_half_a_surrogate_is_a_400(gateway: Running) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}", "content-type": "application/json"}
    for body in (b'{"input": "\\ud800"}', b'{"input": "\xff"}'):
        answer = httpx2.post(f"{gateway.url}/v1/moderations", content=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_pages_follow_one_another_by_themselves(client: Any) -> None:
    made = []
    for number in range(5):
        answer = await settle(
            client.chat.completions.create(
                model="policy", messages=HELLO * 5, metadata={"odd": str(number % 2)}
            )
        )
        made.append(answer.id)
    stored = client.chat.completions
    assert [found.id for found in await collect(stored.list(limit=2))] == made
    newest = await collect(stored.list(limit=2, order="desc", metadata={"odd": "0"}))
    assert [found.id for found in newest] == made[::-2]
    messages = await collect(stored.messages.list(made[0], limit=2))
    assert [message.id for message in messages] == [f"{made[0]}-{i}" for i in range(5)]


async def test_a_request_that_times_out_is_tried_again_and_stops_the_engine_each_time(
    client: Any, engine: FakeEngine
) -> None:
    engine.answer_delay_s = 5
    hasty = client.with_options(timeout=0.3, max_retries=1)
    with pytest.raises(openai.APITimeoutError):
        await settle(hasty.chat.completions.create(model="policy", messages=HELLO))
    await eventually(lambda: engine.num_cancelled == 2)
    assert len(engine.bodies) == 2


async def test_closing_a_stream_stops_the_engine(client: Any, engine: FakeEngine) -> None:
    engine.chunk_delay_s = 0.02
    stream = await settle(
        client.chat.completions.create(model="policy", messages=LONG, stream=True)
    )
    if hasattr(stream, "__anext__"):
        await anext(stream)
    else:
        next(stream)
    await settle(stream.close())
    await eventually(lambda: engine.num_cancelled == 1)


async def test_cancelling_the_task_that_waits_stops_the_engine(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.answer_delay_s = 5
    url = f"{gateway.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=gateway.secret, max_retries=0) as client:
        task = asyncio.create_task(
            client.chat.completions.create(model="policy", messages=HELLO)  # type: ignore[arg-type]
        )
        await eventually(lambda: len(engine.bodies) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: engine.num_cancelled == 1)
