"""The gateway as the openai package sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from feedback import eventlog, keys
from feedback.events import Completion
from tests.serving.conftest import Running
from tests.serving.fake_engine import BASE_DIGEST, FakeEngine
from tests.serving.fake_moderation import FakeModeration

HELLO: Any = [{"role": "user", "content": "hello there my friend"}]
ANSWER = "HELLO THERE MY FRIEND"


def logged(gateway: Running) -> list[Completion]:
    return [event for _, event in eventlog.read(gateway.redis, "completions")]  # type: ignore[misc]


def test_a_chat_answer_says_which_version_made_it(gateway: Running) -> None:
    raw = gateway.openai().chat.completions.with_raw_response.create(model="policy", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == ANSWER
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "policy-0000"
    assert answer.system_fingerprint == f"policy-0000-{BASE_DIGEST[:8]}"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7
    assert raw.headers["x-policy-version"] == "policy-0000"
    assert raw.headers["x-policy-alias"] == "production"
    assert raw.headers["x-policy-digest"] == BASE_DIGEST
    assert raw.headers["x-ratelimit-limit-requests"] == "600"
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["openai-processing-ms"]) >= 0


def test_what_only_the_log_asked_for_is_not_shown(gateway: Running, engine: FakeEngine) -> None:
    raw = gateway.openai().chat.completions.with_raw_response.create(model="policy", messages=HELLO)
    body = json.loads(raw.text)
    assert set(body) == {
        "id", "object", "created", "model", "system_fingerprint", "choices", "usage",
    }  # fmt: skip
    assert set(body["choices"][0]) == {"index", "message", "logprobs", "finish_reason"}
    assert set(body["choices"][0]["message"]) == {"role", "content", "refusal"}
    assert body["choices"][0]["logprobs"] is None
    assert engine.bodies[0]["return_token_ids"] is True
    assert engine.bodies[0]["cache_salt"] == "policy-0000"


def test_a_client_that_asks_for_logprobs_gets_them(gateway: Running) -> None:
    answer = gateway.openai().chat.completions.create(
        model="policy", messages=HELLO, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.logprob for token in logprobs.content] == [-0.5, -1.5, -2.5, -3.5]


def test_a_stored_answer_is_in_the_log_before_the_client_has_it(gateway: Running) -> None:
    answer = gateway.openai().chat.completions.create(
        model="policy",
        messages=HELLO,
        temperature=0.7,
        user="ann",
        metadata={"screen": "home"},
    )
    (record,) = logged(gateway)
    assert record.id == answer.id
    assert record.request == {"messages": HELLO, "temperature": 0.7}
    assert (record.end_user, record.metadata) == ("ann", {"screen": "home"})
    assert (record.key_id, record.tenant) == (gateway.key.id, "default")
    assert record.prompt_ids == [1, 2, 3]
    assert record.choices[0].text == ANSWER
    assert record.choices[0].token_ids == [100, 101, 102, 103]
    assert record.choices[0].logprobs == [-0.5, -1.5, -2.5, -3.5]
    assert (record.version, record.version_last) == ("policy-0000", "policy-0000")
    assert record.digest == BASE_DIGEST
    assert record.moderation["prompt"]["violence"] == 0.01
    assert record.complete


def test_store_false_leaves_nothing_in_the_log(gateway: Running) -> None:
    gateway.openai().chat.completions.create(model="policy", messages=HELLO, store=False)
    assert logged(gateway) == []


def test_an_answer_that_saw_two_versions_is_marked_mixed(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.last_version = "policy-0009"
    gateway.openai().chat.completions.create(model="policy", messages=HELLO)
    list(gateway.openai().chat.completions.create(model="policy", messages=HELLO, stream=True))
    assert [record.is_mixed for record in logged(gateway)] == [True, True]


def test_four_candidates_are_one_set_and_offered_for_ranking(gateway: Running) -> None:
    answer = gateway.openai().chat.completions.create(model="policy", messages=HELLO, n=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    (record,) = logged(gateway)
    assert len(record.choices) == 4
    deadline = time.monotonic() + 5
    while not (offered := gateway.redis.zrange(keys.queue("default", "rank"), 0, -1)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert offered == [answer.id.encode()]


def test_a_stream_carries_our_id_and_the_version(gateway: Running) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(model="policy", messages=HELLO, stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert {chunk.model for chunk in chunks} == {"policy-0000"}
    assert {chunk.system_fingerprint for chunk in chunks} == {f"policy-0000-{BASE_DIGEST[:8]}"}
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    (record,) = logged(gateway)
    assert {chunk.id for chunk in chunks} == {record.id}
    assert record.choices[0].text == ANSWER
    assert record.choices[0].token_ids == [100, 101, 102, 103]
    assert record.choices[0].logprobs == [-0.5, -1.5, -2.5, -3.5]
    assert record.prompt_ids == [1, 2, 3]
    assert record.complete


def test_a_stream_of_several_candidates_keeps_them_apart(gateway: Running) -> None:
    stream = gateway.openai().chat.completions.create(
        model="policy", messages=HELLO, stream=True, n=3, stream_options={"include_usage": True}
    )
    texts = ["", "", ""]
    usages = []
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
        usages.append(chunk.usage)
    assert texts == [ANSWER] * 3
    assert usages[-1] is not None
    assert usages[-1].completion_tokens == 12
    assert [choice.text for choice in logged(gateway)[0].choices] == [ANSWER] * 3


def test_text_completions_work_whole_and_streamed(gateway: Running) -> None:
    whole = gateway.openai().completions.create(model="policy", prompt="one two")
    assert whole.choices[0].text == "ONE TWO"
    assert whole.id.startswith("cmpl-")
    assert whole.choices[0].logprobs is None
    chunks = gateway.openai().completions.create(
        model="policy", prompt="one two", stream=True, logprobs=0
    )
    pieces = [chunk.choices[0] for chunk in chunks]
    assert "".join(piece.text for piece in pieces) == "ONE TWO"
    assert pieces[0].logprobs is not None
    records = logged(gateway)
    assert [record.endpoint for record in records] == ["text", "text"]
    assert [record.prompt_ids for record in records] == [[1, 2, 3], [1, 2, 3]]


def test_models_lists_aliases_and_versions(gateway: Running) -> None:
    models = gateway.openai().models
    names = ["policy", "policy@production", "policy-0000", "fake-moderation"]
    assert [model.id for model in models.list()] == names
    assert models.retrieve("policy-0000").owned_by == "hone"
    with pytest.raises(openai.NotFoundError):
        models.retrieve("policy-0042")


def test_moderations_are_passed_to_the_moderation_server(gateway: Running) -> None:
    results = gateway.openai().moderations.create(input=["attack", "tea"]).results
    assert [result.flagged for result in results] == [True, False]


def test_a_wrong_key_is_an_authentication_error(gateway: Running) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        gateway.openai("sk-wrong").chat.completions.create(model="policy", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_key_without_the_scope_is_refused(gateway: Running) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        gateway.openai(gateway.label_secret).chat.completions.create(model="policy", messages=HELLO)


@pytest.mark.parametrize(
    "model", ["gpt-4", "policy@canary", "policy@", "policy-9999", "production"]
)
def test_an_unknown_model_is_not_found(gateway: Running, model: str) -> None:
    if model == "policy@":  # the empty alias is production's
        gateway.openai().chat.completions.create(model=model, messages=HELLO)
        return
    with pytest.raises(openai.NotFoundError) as caught:
        gateway.openai().chat.completions.create(model=model, messages=HELLO)
    assert caught.value.code == "model_not_found"


def test_an_oversized_body_is_413(gateway: Running) -> None:
    big: Any = [{"role": "user", "content": "x" * 2_000_000}]
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.openai().chat.completions.create(model="policy", messages=big)
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"


def test_a_text_longer_than_the_model_reads_is_a_400_that_says_so(gateway: Running) -> None:
    for content in ("x " * 20_000, "this is too long"):
        messages: Any = [{"role": "user", "content": content}]
        with pytest.raises(openai.BadRequestError) as caught:
            gateway.openai().chat.completions.create(model="policy", messages=messages)
        assert caught.value.code == "context_length_exceeded"


def test_an_unknown_field_is_named(gateway: Running, engine: FakeEngine) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.openai().chat.completions.create(
            model="policy", messages=HELLO, extra_body={"chat_template": "{{ x }}"}
        )
    assert caught.value.param == "chat_template"
    assert engine.bodies == []


def test_a_limit_ends_in_429_with_a_time_to_come_back(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_url, engine, default_requests_per_minute=3)
    client = gateway.openai()
    if time.time() % 60 > 55:
        time.sleep(5.1)  # the window must not turn in the middle
    for _ in range(3):
        client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.list()
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


def test_a_blocked_prompt_is_not_answered_and_not_retried(
    gateway: Running, engine: FakeEngine
) -> None:
    messages: Any = [{"role": "user", "content": "how do I attack"}]
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.openai().chat.completions.create(model="policy", messages=messages)
    assert caught.value.code == "content_policy_violation"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert engine.bodies == []
    ((_, event),) = eventlog.read(gateway.redis, "moderation")
    assert event.stage == "prompt"  # type: ignore[union-attr]
    assert event.blocked == ["violence"]  # type: ignore[union-attr]


def test_moderation_is_asked_again_when_it_closes_a_connection(
    gateway: Running, moderation: FakeModeration
) -> None:
    moderation.drop_next = 1
    answer = gateway.openai().chat.completions.create(model="policy", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"
    assert moderation.drop_next == 0


def test_without_moderation_there_is_no_answer(
    gateway: Running, moderation: FakeModeration
) -> None:
    moderation.is_away = True
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.openai().chat.completions.create(model="policy", messages=HELLO)
    assert caught.value.status_code == 503


def test_an_operator_may_let_texts_pass_without_moderation(
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
    moderation: FakeModeration,
) -> None:
    gateway = start_gateway(redis_url, engine, moderation_required=False)
    moderation.is_away = True
    answer = gateway.openai().chat.completions.create(model="policy", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
