"""Streams that go well are in test_openai_api; here are those that do not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from feedback import eventlog
from feedback.events import Completion
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

LONG: Any = [{"role": "user", "content": " ".join(f"word{i}" for i in range(200))}]


def logged(gateway: Running) -> list[Completion]:
    return [event for _, event in eventlog.read(gateway.redis, "completions")]  # type: ignore[misc]


def eventually(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raw_lines(gateway: Running, messages: Any, **options: Any) -> list[str]:
    body = {"model": "policy", "messages": messages, "stream": True, **options}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=100) as response:
        assert response.status_code == 200
        return [line for line in response.iter_lines() if line]


def test_the_log_has_the_answer_before_done_is_sent(gateway: Running) -> None:
    body = {"model": "policy", "messages": LONG, "stream": True}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, headers=headers) as response:
        for line in response.iter_lines():
            if line == "data: [DONE]":
                (record,) = logged(gateway)
                assert record.complete
                return
    pytest.fail("no [DONE]")


def test_a_client_that_leaves_stops_the_engine_and_is_logged_as_incomplete(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.chunk_delay_s = 0.02
    stream = gateway.openai().chat.completions.create(model="policy", messages=LONG, stream=True)
    for number, _ in enumerate(stream):
        if number == 5:
            break
    stream.close()
    eventually(lambda: engine.num_cancelled == 1)
    eventually(lambda: len(logged(gateway)) == 1)
    (record,) = logged(gateway)
    assert not record.complete
    assert 4 <= len(record.choices[0].token_ids) < 200


def test_a_client_that_leaves_before_the_answer_stops_the_engine(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.answer_delay_s = 5
    for is_stream in (False, True):
        with pytest.raises(openai.APITimeoutError):
            gateway.openai(timeout=0.3).chat.completions.create(
                model="policy", messages=LONG, stream=is_stream
            )
    eventually(lambda: engine.num_cancelled == 2)
    assert logged(gateway) == []


def test_a_stream_that_breaks_says_so_and_never_done(gateway: Running, engine: FakeEngine) -> None:
    engine.break_next = 1
    engine.chunk_delay_s = 0.01
    lines = raw_lines(gateway, LONG)
    assert "data: [DONE]" not in lines
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert error["type"] == "service_unavailable_error"
    (record,) = logged(gateway)
    assert not record.complete
    engine.break_next = 1
    with pytest.raises(openai.APIError):
        list(gateway.openai().chat.completions.create(model="policy", messages=LONG, stream=True))


def test_a_failure_before_the_first_byte_is_tried_once_more(
    gateway: Running, engine: FakeEngine
) -> None:
    for is_stream in (False, True):
        engine.fail_next = 1
        answer: Any = gateway.openai().chat.completions.create(
            model="policy", messages=LONG, stream=is_stream
        )
        if is_stream:
            assert len(list(answer)) > 200
    assert len(logged(gateway)) == 2
    engine.fail_next = 2
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.openai().chat.completions.create(model="policy", messages=LONG)
    assert caught.value.status_code == 503
    assert "retry-after" in caught.value.response.headers


def test_a_streamed_answer_that_moderation_blocks_ends_as_filtered(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:

    words = [f"word{i}" for i in range(100)] + ["bad"] + [f"more{i}" for i in range(400)]
    messages: Any = [{"role": "user", "content": " ".join(words)}]
    moderation.word = "BAD"
    chunks = list(
        gateway.openai().chat.completions.create(model="policy", messages=messages, stream=True)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert text.startswith("WORD0 WORD1")
    assert "BAD" not in text
    (record,) = logged(gateway)
    assert record.choices[0].blocked
    assert record.choices[0].finish_reason == "content_filter"
    assert record.moderation["choices"][0]["violence"] == 0.99
    assert record.complete


def test_of_several_candidates_only_the_blocked_one_is_withheld(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    moderation.word = "TWO"
    engine.by_index = {1: "one two three"}
    answer = gateway.openai().chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "all good here"}], n=3
    )
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "content_filter", "stop"]
    assert answer.choices[1].message.content == ""
    (record,) = logged(gateway)
    assert [choice.blocked for choice in record.choices] == [False, True, False]
    assert record.choices[1].text == "ONE TWO THREE"
