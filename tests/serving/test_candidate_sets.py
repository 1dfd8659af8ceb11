"""Several answers to a stored prompt, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest

from feedback import eventlog
from feedback.events import Completion
from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

HELLO: Any = [{"role": "user", "content": "hello there"}]


def sample(
    gateway: Running, completion_id: str, *, key: str | None = None, **fields: Any
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key or gateway.secret}"}
    url = f"{gateway.url}/v1/completions/{completion_id}/candidates"
    return httpx2.post(url, json=fields, headers=headers)


def logged(gateway: Running, completion_id: str) -> Completion:
    return cast(Completion, eventlog.get(gateway.redis, "completions", completion_id))


def ask(gateway: Running, **fields: Any) -> str:
    fields = {"model": "policy", "messages": HELLO, **fields}
    return str(gateway.openai().chat.completions.create(**fields).id)


def test_a_stored_prompt_is_answered_again_several_times(
    gateway: Running, engine: FakeEngine
) -> None:
    origin = ask(gateway, user="ann", temperature=0, top_p=0.5, seed=7)
    made = sample(gateway, origin, n=3, max_tokens=5, metadata={"why": "labels"})
    answer = made.json()
    assert (made.status_code, answer["object"], len(answer["choices"])) == (
        200,
        "chat.completion",
        3,
    )
    assert answer["id"] != origin
    sent = engine.bodies[-1]
    assert sent["messages"] == HELLO
    asked = ("n", "max_tokens", "temperature", "top_p", "seed")
    assert [sent.get(name) for name in asked] == [3, 5, 1.0, 0.5, None]
    event = logged(gateway, answer["id"])
    assert (event.prompt_of, event.end_user, event.metadata) == (origin, "ann", {"why": "labels"})


def test_they_are_offered_to_labelers(gateway: Running) -> None:
    origin = ask(gateway)
    made = sample(gateway, origin).json()
    label, _ = auth.create_key(gateway.redis, name="labels", scopes=("label",))
    headers = {"authorization": f"Bearer {label}"}
    shown = httpx2.get(f"{gateway.url}/v1/feedback/assignments/next", headers=headers).json()
    assert {each["completion_id"] for each in shown["candidates"]} == {made["id"]}
    assert len(shown["candidates"]) == 4


def test_a_text_completion_s_prompt_too(gateway: Running) -> None:
    origin = gateway.openai().completions.create(model="policy", prompt="one two").id
    made = sample(gateway, origin, n=2).json()
    assert (made["object"], [choice["text"] for choice in made["choices"]]) == (
        "text_completion",
        ["ONE TWO", "ONE TWO"],
    )


def test_those_of_a_key_that_stores_nothing_are_stored_all_the_same(gateway: Running) -> None:
    secret, _ = auth.create_key(gateway.redis, name="quiet", scopes=("infer",), store=False)
    made = sample(gateway, ask(gateway), key=secret).json()
    assert logged(gateway, made["id"]).prompt_of is not None


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 1}, "n"), ({"n": 10}, "n"), ({"prompt": "x"}, "prompt"), ({"model": "no"}, "model")],
)
def test_what_makes_no_candidates_is_refused_by_name(
    gateway: Running, fields: dict[str, Any], param: str
) -> None:
    refused = sample(gateway, ask(gateway), **fields)
    assert refused.status_code in (400, 404)
    assert refused.json()["error"]["param"] == param


def test_another_tenant_s_or_none_at_all_is_not_found(gateway: Running) -> None:
    stranger, _ = auth.create_key(gateway.redis, name="b", scopes=("infer",), tenant="b")
    assert sample(gateway, ask(gateway), key=stranger).status_code == 404
    assert sample(gateway, "chatcmpl-none").status_code == 404


def test_moderation_withholds_one_of_them_as_ever(
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
    moderation: FakeModeration,
) -> None:
    gateway = start_gateway(redis_url, engine, moderation_cache_texts=0)  # it changes its mind
    origin = ask(gateway, store=True)
    moderation.word = "HELLO"
    made = sample(gateway, origin, n=2).json()
    assert {choice["finish_reason"] for choice in made["choices"]} == {"content_filter"}
