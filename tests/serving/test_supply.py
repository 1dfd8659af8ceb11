from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import httpx2

from feedback import eventlog, keys
from feedback.events import Completion
from serving.supply import Supply
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

Start = Callable[..., Running]


def ask(gateway: Running, text: str, *, user: str = "u1", **options: Any) -> str:
    messages: Any = [{"role": "user", "content": text}]
    return (
        gateway.openai()
        .chat.completions.create(model="policy", messages=messages, user=user, **options)
        .id
    )


def filled(gateway: Running, **settings: Any) -> int:
    """Fill once, on the gateway's own loop; how many sets were made."""

    async def fill() -> int:
        opened = gateway.app.state.gateway
        defaults = {"supply_target": 5, "rate_share": 0.0, "demonstrate_share": 0.0}
        for name, value in {**defaults, **settings}.items():
            object.__setattr__(opened.feedback_settings, name, value)
        return await Supply(opened).fill()

    return gateway.run(fill())


def sets(gateway: Running) -> list[Completion]:
    events = [cast(Completion, event) for _, event in eventlog.read(gateway.redis, "completions")]
    return [event for event in events if event.prompt_of is not None]


def next_item(gateway: Running, *, labeler: str = "ann", task: str = "rank") -> Any:
    headers = {"authorization": f"Bearer {gateway.label_secret}"}
    url = f"{gateway.url}/v1/feedback/assignments/next?labeler={labeler}&task={task}"
    answer = httpx2.get(url, headers=headers)
    return answer.json() if answer.status_code == 200 else None


def test_prompts_that_people_asked_are_answered_k_times_and_offered(gateway: Running) -> None:
    asked = {ask(gateway, f"question {number}", user=f"u{number}") for number in range(3)}
    ask(gateway, "not to be kept", store=False)
    assert filled(gateway) == 3
    made = sets(gateway)
    assert {one.prompt_of for one in made} == asked
    assert {len(one.choices) for one in made} == {4}
    assert {one.end_user for one in made} == {"u0", "u1", "u2"}
    item = next_item(gateway)
    assert len(item["candidates"]) == 4
    assert filled(gateway) == 0  # each prompt once, and what was sampled is not sampled again


def test_a_full_queue_is_left_alone(gateway: Running) -> None:
    for number in range(4):
        ask(gateway, f"question {number}", user=f"u{number}")
    assert filled(gateway, supply_target=2) == 2
    assert filled(gateway, supply_target=2) == 0


def test_engines_that_have_work_are_left_alone(gateway: Running, engine: FakeEngine) -> None:
    ask(gateway, "a question")
    gateway.app.state.gateway.fleet.members[0].in_flight += 1
    assert filled(gateway) == 0
    gateway.app.state.gateway.fleet.members[0].in_flight -= 1
    assert filled(gateway) == 1


def test_of_a_share_the_answer_is_rated_or_written_by_people(gateway: Running) -> None:
    rated = ask(gateway, "to be rated")
    assert filled(gateway, rate_share=1.0) == 1
    answered = ask(gateway, "to be answered by a person")
    assert filled(gateway, demonstrate_share=1.0) == 1
    assert sets(gateway) == []
    assert next_item(gateway, task="rate")["completion_id"] == rated
    deadline = time.monotonic() + 10
    while (item := next_item(gateway, task="demonstrate"))["completion_id"] is None:
        headers = {
            "authorization": f"Bearer {gateway.label_secret}"
        }  # a prompt of one's own; skip it
        url = f"{gateway.url}/v1/feedback/assignments/{item['id']}/skip?labeler=ann"
        assert httpx2.post(url, json={"reason": "unclear"}, headers=headers).status_code == 201
        assert time.monotonic() < deadline
    assert item["completion_id"] == answered
    assert item["candidates"] == []


def test_a_share_goes_to_several_labelers(gateway: Running) -> None:
    ask(gateway, "a question")
    assert filled(gateway, overlap_share=1.0, overlap_labelers=3) == 1
    found = [next_item(gateway, labeler=name) for name in ("ann", "bob", "eve", "dan")]
    assert [item is not None for item in found] == [True, True, True, False]
    assert len({item["completion_id"] for item in found[:3]}) == 1


def test_an_answer_of_the_version_before_is_among_those_of_the_current_one(
    gateway: Running, engine: FakeEngine
) -> None:
    ask(gateway, "a question")
    gateway.redis.hset(keys.ALIASES, "previous", "policy-0000")
    deadline = time.monotonic() + 5
    while "previous" not in gateway.app.state.gateway.refresher.live.aliases:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert filled(gateway, other_version_share=1.0) == 1
    assert sorted(len(one.choices) for one in sets(gateway)) == [1, 3]
    item = next_item(gateway)
    assert len({candidate["completion_id"] for candidate in item["candidates"]}) == 2
    assert len(item["candidates"]) == 4
    assert "policy" not in str(item)


def test_what_moderation_withholds_makes_no_set(gateway: Running, engine: FakeEngine) -> None:
    ask(gateway, "a question")
    engine.says = "attack"
    assert filled(gateway) == 0
    assert next_item(gateway) is None


def test_one_gateway_fills_at_a_time(
    start_gateway: Start, redis_url: str, engine: FakeEngine, moderation: FakeModeration
) -> None:
    first, second = start_gateway(redis_url, engine), start_gateway(redis_url, engine)

    async def lease(supply: Supply) -> bool:
        return await supply._lease()

    supplies = [Supply(one.app.state.gateway) for one in (first, second)]
    leased = [one.run(lease(supply)) for one, supply in zip((first, second), supplies, strict=True)]
    again = first.run(lease(supplies[0]))
    assert (leased, again) == ([True, False], True)
