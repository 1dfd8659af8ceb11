"""What a key's policy, an operator's borders and a request's own `moderation` make of a flagged text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from feedback import eventlog
from feedback.events import Completion
from moderation.categories import CATEGORIES
from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import MODEL, SCORED, FakeModeration

HELLO: Any = [{"role": "user", "content": "hello there"}]
ATTACK: Any = [{"role": "user", "content": "how do I attack"}]
LATEST: Any = {"model": "omni-moderation-latest"}


def ask(gateway: Running, messages: Any = HELLO, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = gateway.openai().chat.completions.create(
        model="policy", messages=messages, **options
    )
    return answer


def logged(gateway: Running) -> list[Completion]:
    return [event for _, event in eventlog.read(gateway.redis, "completions")]  # type: ignore[misc]


def metrics(gateway: Running) -> str:
    return httpx2.get(f"{gateway.url}/metrics").text


def asking(*, prompt: str, completion: str) -> dict[str, Any]:
    return {**LATEST, "policy": {"input": {"mode": prompt}, "output": {"mode": completion}}}


def allow(gateway: Running, **actions: Any) -> None:
    auth.set_moderation(gateway.redis, gateway.key.id, actions)  # type: ignore[arg-type]
    gateway.run(gateway.app.state.gateway.refresher.refresh())


def test_a_flagged_prompt_passes_where_the_key_only_flags_it_and_is_counted(
    gateway: Running,
) -> None:
    allow(gateway, prompt={"violence": "flag"})
    assert ask(gateway, ATTACK).choices[0].finish_reason == "stop"
    (record,) = logged(gateway)
    assert record.moderation["flagged"] == {"prompt": ["violence"], "choices": [[]]}
    labels = 'action="flag",category="violence",stage="prompt"'
    assert f"hone_moderation_categories_total{{{labels}}} 1.0" in metrics(gateway)
    assert 'hone_moderation_total{outcome="flagged",stage="prompt"} 1.0' in metrics(gateway)


def test_answers_have_actions_of_their_own(gateway: Running, moderation: FakeModeration) -> None:
    moderation.word = "HELLO"  # what the engine says
    allow(gateway, prompt={"all": "allow"}, completion={"hate": "flag"})
    choice = ask(gateway).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", "")
    assert choice.to_dict()["content_filter_results"] == {"violence": {"filtered": True}}
    allow(gateway, completion={"all": "flag"})
    assert ask(gateway, [*HELLO, *HELLO]).choices[0].finish_reason == "stop"


def test_an_operator_sets_a_key_s_policy_over_http_and_it_outlives_a_rotation(
    gateway: Running,
) -> None:
    url = f"{gateway.url}/admin/keys/{gateway.key.id}"
    headers = {"authorization": f"Bearer {gateway.admin_secret}"}
    body = {"prompt": {"all": "flag", "hate": "block"}}
    answer = httpx2.put(f"{url}/moderation", json=body, headers=headers)
    assert answer.json()["moderation"] == body
    assert ask(gateway, ATTACK).choices[0].finish_reason == "stop"
    rotated = httpx2.post(f"{url}/rotate", json={}, headers=headers).json()
    assert rotated["moderation"] == body
    wrong = httpx2.put(f"{url}/moderation", json={"prompt": {"hat": "flag"}}, headers=headers)
    assert wrong.status_code == 422
    assert "'hat' is no moderation category" in wrong.json()["error"]["message"]
    nobody = f"{gateway.url}/admin/keys/key_none/moderation"
    assert httpx2.put(nobody, json=body, headers=headers).status_code == 404


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_moderation_object_is_what_the_openai_package_says(
    gateway: Running, is_stream: bool
) -> None:
    allow(gateway, prompt={"all": "flag"}, completion={"all": "allow"})
    options = {"moderation": LATEST, "stream": is_stream, "n": 2}
    answer: Any = ask(gateway, ATTACK, **options)
    if is_stream:
        chunks = list(answer)
        for chunk in chunks:
            TypeAdapter(ChatCompletionChunk).validate_python(chunk.to_dict())
        (moderation,) = [chunk.moderation for chunk in chunks if chunk.moderation]
    else:
        TypeAdapter(ChatCompletion).validate_python(answer.to_dict())
        moderation = answer.moderation
    (asked,) = moderation.input.results
    assert (asked.flagged, asked.model, asked.category_scores["violence"]) == (True, MODEL, 0.99)
    assert set(asked.categories) == set(CATEGORIES)
    applied = asked.category_applied_input_types
    assert {name for name, kinds in applied.items() if kinds == ["text"]} == set(SCORED)
    assert asked.category_scores["illicit"] == 0.0  # nobody judged it
    assert [result.flagged for result in moderation.output.results] == [False, False]


def test_without_being_asked_for_it_an_answer_has_no_moderation_object(gateway: Running) -> None:
    assert "moderation" not in ask(gateway).to_dict()


def test_a_request_may_ask_for_more_than_its_key_does(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    allow(gateway, prompt={"all": "allow"}, completion={"all": "allow"})
    with pytest.raises(openai.BadRequestError, match="violence") as caught:
        ask(gateway, ATTACK, moderation=asking(prompt="block", completion="score"))
    assert caught.value.code == "content_policy_violation"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert engine.bodies == []
    moderation.word = "HELLO"
    answer = ask(gateway, moderation=asking(prompt="score", completion="block"))
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.moderation is not None
    assert answer.moderation.output.results[0].flagged  # type: ignore[union-attr]


def test_a_request_may_not_ask_for_less_than_its_key_does(gateway: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="violence"):
        ask(gateway, ATTACK, moderation=asking(prompt="score", completion="score"))


@pytest.mark.parametrize(
    ("wanted", "status", "param"),
    [
        ({"model": "gpt-4"}, 404, "moderation.model"),
        ({}, 400, "moderation.model"),
        ({**LATEST, "policy": {"input": {"mode": "shout"}}}, 400, "moderation.policy.input"),
        ({**LATEST, "policy": {"inputs": {}}}, 400, "moderation.policy"),
        ("on", 400, "moderation"),
    ],
)
def test_a_wrong_moderation_parameter_is_named(
    gateway: Running, wanted: Any, status: int, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(gateway, extra_body={"moderation": wanted})
    assert (caught.value.status_code, caught.value.param) == (status, param)


def test_the_model_named_and_the_old_names_are_taken(gateway: Running) -> None:
    own = ask(gateway, moderation={"model": MODEL}).moderation
    assert own is not None
    old = ask(gateway, moderation={"model": "text-moderation-001"}).moderation
    assert old is not None
    (result,) = old.output.results  # type: ignore[union-attr]
    assert len(result.categories) == len(result.category_scores) == 7


def test_models_says_what_the_moderation_model_judges(gateway: Running) -> None:
    model = gateway.openai().models.retrieve(MODEL).to_dict()
    categories: Any = model["moderation"]["categories"]  # type: ignore[index]
    assert {name for name, about in categories.items() if about["scored"]} == set(SCORED)
    assert categories["illicit"] == {"scored": False, "threshold": None}


def test_an_unchecked_answer_says_so(
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
    moderation: FakeModeration,
) -> None:
    gateway = start_gateway(redis_url, engine, moderation_required=False)
    moderation.is_away = True
    answer = ask(gateway)
    assert answer.moderation is not None
    assert answer.moderation.input.type == "error"
    assert answer.moderation.input.code == "moderation_unavailable"
    TypeAdapter(ChatCompletion).validate_python(answer.to_dict())


def test_a_text_is_scored_once_while_it_is_remembered(
    gateway: Running, moderation: FakeModeration
) -> None:
    for _ in range(3):
        ask(gateway)
    assert moderation.inputs == ["hello there", "HELLO THERE"]
    assert 'hone_moderation_cache_total{outcome="hit"} 4.0' in metrics(gateway)
    assert 'hone_moderation_cache_total{outcome="miss"} 2.0' in metrics(gateway)
