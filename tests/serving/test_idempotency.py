from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from feedback import eventlog
from tests.conftest import RedisServer
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HELLO: Any = [{"role": "user", "content": "hello there my friend"}]


def ask(gateway: Running, key: str, *, messages: Any = HELLO, **fields: Any) -> Any:
    return gateway.openai().chat.completions.with_raw_response.create(
        model="policy", messages=messages, extra_headers={"idempotency-key": key}, **fields
    )


def test_the_same_request_again_gets_the_first_answer(gateway: Running, engine: FakeEngine) -> None:
    first, again = ask(gateway, "one"), ask(gateway, "one")
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["x-policy-version"] == first.headers["x-policy-version"]
    assert ask(gateway, "two").parse().id != first.parse().id
    assert len(engine.bodies) == 2
    assert len(list(eventlog.read(gateway.redis, "completions"))) == 2


def test_a_stream_is_replayed_whole(gateway: Running, engine: FakeEngine) -> None:
    bodies = [
        b"".join(ask(gateway, "one", stream=True).http_response.iter_bytes()) for _ in range(2)
    ]
    assert bodies[0] == bodies[1]
    assert bodies[0].endswith(b"data: [DONE]\n\n")
    assert len(engine.bodies) == 1


def test_another_body_under_the_same_key_is_refused(gateway: Running) -> None:
    ask(gateway, "one")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ask(gateway, "one", temperature=0.5)
    assert caught.value.code == "idempotency_key_reused"


def test_a_key_is_its_senders_own(gateway: Running, engine: FakeEngine) -> None:
    ask(gateway, "one")
    other = gateway.openai(gateway.admin_secret).chat.completions
    other.create(model="policy", messages=HELLO, extra_headers={"idempotency-key": "one"})
    assert len(engine.bodies) == 2
    with pytest.raises(openai.AuthenticationError):
        gateway.openai("sk-of-nobody").chat.completions.create(
            model="policy", messages=HELLO, extra_headers={"idempotency-key": "one"}
        )


def test_while_the_first_is_answered_the_second_waits_by_retrying(
    gateway: Running, engine: FakeEngine
) -> None:
    engine.answer_delay_s = 0.8
    answers: list[str] = []
    first = threading.Thread(target=lambda: answers.append(ask(gateway, "one").parse().id))
    first.start()
    time.sleep(0.3)
    with pytest.raises(openai.ConflictError) as caught:
        ask(gateway, "one")
    assert caught.value.response.headers["x-should-retry"] == "true"
    patient = gateway.openai(max_retries=3)
    again = patient.chat.completions.create(
        model="policy", messages=HELLO, extra_headers={"idempotency-key": "one"}
    )
    first.join()
    assert answers == [again.id]
    assert len(engine.bodies) == 1


@pytest.mark.parametrize("trouble", ["fail_next", "break_next"])
def test_an_answer_that_failed_is_not_kept(
    gateway: Running, engine: FakeEngine, trouble: str
) -> None:
    if trouble == "fail_next":
        engine.fail_next = 2  # the gateway's own retry as well
        with pytest.raises(openai.InternalServerError):
            ask(gateway, "one")
    else:
        engine.break_next = 1
        broken = b"".join(ask(gateway, "one", stream=True).http_response.iter_bytes())
        assert b"[DONE]" not in broken
    again = ask(gateway, "one", stream=trouble == "break_next")
    assert "idempotent-replayed" not in again.headers


def test_a_refused_request_is_refused_again_without_an_engine(
    gateway: Running, engine: FakeEngine
) -> None:
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(gateway, "one", messages=[{"role": "user", "content": "how do I attack"}])
    assert caught.value.response.headers["idempotent-replayed"] == "true"
    assert caught.value.code == "content_policy_violation"


def test_without_redis_the_request_is_carried_out(
    start_gateway: Callable[..., Running], engine: FakeEngine, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url, engine)
    redis_server.stop(kill=True)
    assert ask(gateway, "one").parse().choices[0].message.content == "HELLO THERE MY FRIEND"
