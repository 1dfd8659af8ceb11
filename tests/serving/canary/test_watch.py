"""From what people meet and say, through the log, to the verdict: a real gateway decides by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import httpx2
import pytest

from feedback import eventlog, keys
from feedback.events import Audit, Completion
from serving.canary.figures import VOTES_EACH
from serving.canary.state import Outcome
from serving.registry import Registry
from serving.supply import Supply
from tests.serving.canary.versions import (
    NEW,
    answers_by,
    ask,
    begin,
    call,
    overview,
    publish,
    wait_until,
)
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

USERS = [f"u{number}" for number in range(30)]
Start = Callable[..., Running]


def judge(gateway: Running, form: str, body: Any, *, key: str | None = None) -> str:
    headers = {"authorization": f"Bearer {key or gateway.label_secret}"}
    url = f"{gateway.url}/v1/feedback/{form}"
    answer = httpx2.post(url, json=body, headers=headers, timeout=100)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def pair_sets(gateway: Running, prompts: list[str]) -> list[list[Completion]]:
    """Labelers' sets of both versions, as the supply makes them: [[answers of one prompt]]."""
    for number, prompt in enumerate(prompts):
        ask(gateway, f"asker{number}", "policy@production", messages=_says(prompt))

    async def fill() -> int:
        opened = gateway.app.state.gateway
        for name, value in {
            "supply_target": 1_000,
            "rate_share": 0.0,
            "demonstrate_share": 0.0,
            "candidates_per_set": 2,
        }.items():
            object.__setattr__(opened.feedback_settings, name, value)
        return await Supply(opened).fill()

    assert gateway.run(fill()) == len(prompts)
    events = [cast(Completion, event) for _, event in eventlog.read(gateway.redis, "completions")]
    sets: dict[str, list[Completion]] = {}
    for event in events:
        if event.prompt_of is not None:
            sets.setdefault(event.prompt_of, []).append(event)
    return list(sets.values())


def _says(text: str) -> Any:
    return [{"role": "user", "content": text}]


def vote(gateway: Running, answers: list[Completion], *, labeler: str, prefers: str | None) -> str:
    """`prefers`: a version; None: a tie."""
    a, b = ({"completion_id": each.id, "index": 0} for each in answers)
    preference = 0 if prefers is None else 2 if answers[0].version == prefers else -2
    body = {"a": a, "b": b, "preference": preference, "labeler": labeler}
    return judge(gateway, "comparisons", body)


def outcome(gateway: Running) -> Outcome | None:
    history = overview(gateway)["history"]
    return history[0]["outcome"] if history else None


@pytest.fixture
def judged(start_gateway: Start, redis_url: str, engine: FakeEngine) -> Running:
    """A gateway with a canary, whose labelers' sets are all of both versions."""
    gateway = start_gateway(redis_url, engine, canary_pair_share=1.0, canary_min_s=0.0)
    publish(gateway)
    begin(gateway)
    return gateway


def test_a_version_whose_answers_fail_is_gone_within_seconds(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway)
    begin(gateway)
    engine.fails.add(NEW)
    began = time.monotonic()
    answered = answers_by(gateway, USERS)
    assert set(answered.values()) == {"policy-0000"}  # nobody suffers from it
    wait_until(lambda: outcome(gateway) == "rolled_back")
    assert time.monotonic() - began < 60
    assert Registry(gateway.redis).aliases() == {"production": "policy-0000"}
    (past,) = overview(gateway)["history"]
    assert (past["ended_by"], "answers fail" in past["end_reason"]) == ("canary", True)
    assert past["figures"]["canary"]["errors"] > past["figures"]["production"]["errors"] == 0
    assert past["verdict"]["action"] == "roll_back"
    audits = [cast(Audit, event) for _, event in eventlog.read(gateway.redis, "audit")]
    assert [audit.action for audit in audits] == ["canary.begin", "canary.abort"]
    assert audits[1].detail["outcome"] == "rolled_back"


@pytest.mark.parametrize(
    ("better", "ends", "aliases"),
    [
        ("policy-0000", "rolled_back", {"production": "policy-0000"}),
        (NEW, "promoted", {"production": NEW, "previous": "policy-0000"}),
    ],
)
def test_what_people_prefer_in_blind_pairs_decides(
    judged: Running, better: str, ends: str, aliases: dict[str, str]
) -> None:
    sets = pair_sets(judged, [f"question {n}" for n in range(9 * VOTES_EACH)])
    assert {each.version for answers in sets for each in answers} == {"policy-0000", NEW}
    for number, answers in enumerate(sets):
        vote(judged, answers, labeler=f"person{number % 9}", prefers=better)
    wait_until(lambda: outcome(judged) == ends)
    assert Registry(judged.redis).aliases() == aliases
    (past,) = overview(judged)["history"]
    assert "prefer" in past["end_reason"]
    assert past["figures"]["pairs"]["people_counted"] == 9


def test_one_voter_decides_nothing_and_figures_outlive_the_gateway(
    judged: Running, start_gateway: Start, redis_url: str, engine: FakeEngine
) -> None:
    gateway = judged
    sets = pair_sets(gateway, [f"question {n}" for n in range(6)])
    for answers in sets:
        vote(gateway, answers, labeler="loud", prefers="policy-0000")
    (other_set,) = pair_sets(gateway, ["another question"])[6:]
    tied = vote(gateway, other_set, labeler="ann", prefers=None)
    wait_until(lambda: overview(gateway)["figures"]["pairs"]["votes"] == 7)
    before = overview(gateway)
    assert (before["figures"]["pairs"]["people"], outcome(gateway)) == (2, None)
    gateway.stop()
    other = start_gateway(redis_url, engine)
    taken_back = {"authorization": f"Bearer {gateway.label_secret}"}
    assert httpx2.delete(f"{other.url}/v1/feedback/{tied}", headers=taken_back).status_code < 300
    wait_until(lambda: overview(other)["figures"]["pairs"]["votes"] == 6)
    assert overview(other)["figures"]["pairs"]["people_counted"] == 1


def test_thumbs_and_lengths_are_counted_by_arm(gateway: Running) -> None:
    publish(gateway)
    begin(gateway)
    answers = {user: ask(gateway, user) for user in USERS[:12]}
    for answer in answers.values():
        is_new = answer.headers["x-policy-version"] == NEW
        body = {"completion_id": answer.parse().id, "thumb": "up" if is_new else "down"}
        judge(gateway, "ratings", body, key=gateway.secret)
    drawn = sum(a.headers["x-policy-version"] == NEW for a in answers.values())
    wait_until(lambda: overview(gateway)["figures"]["canary"]["thumbs_up"] == drawn)
    shown = overview(gateway)["figures"]
    assert shown["production"]["thumbs_down"] == 12 - drawn
    assert shown["canary"]["answers"] + shown["production"]["answers"] == 12
    assert shown["canary"]["mean_chars"] > 0
    assert shown["canary"]["latency_ms"]["p50"] > 0
    assert 'hone_canary_evidence{test="pairs_won"}' in call(gateway, "GET", "/metrics").text


@pytest.mark.parametrize(("on_end", "production"), [("hold", "policy-0000"), ("promote", NEW)])
def test_undecided_at_the_end_it_is_held_or_promoted_as_was_set(
    start_gateway: Start, redis_url: str, engine: FakeEngine, on_end: str, production: str
) -> None:
    gateway = start_gateway(redis_url, engine, canary_max_s=0.1, canary_on_end=on_end)
    publish(gateway)
    begin(gateway)
    if on_end == "promote":
        wait_until(lambda: outcome(gateway) == "promoted")
    else:
        wait_until(lambda: overview(gateway)["running"]["status"] == "held")
    assert Registry(gateway.redis).aliases()["production"] == production


def test_another_version_in_production_ends_it(gateway: Running) -> None:
    publish(gateway)
    publish(gateway, "policy-0002")
    begin(gateway)
    Registry(gateway.redis).promote("policy-0002")  # past the gateway, as a worker does
    wait_until(lambda: outcome(gateway) == "superseded")
    assert Registry(gateway.redis).aliases() == {
        "production": "policy-0002",
        "previous": "policy-0000",
    }


def test_of_two_gateways_one_decides(
    gateway: Running, start_gateway: Start, redis_url: str, engine: FakeEngine
) -> None:
    other = start_gateway(redis_url, engine)
    publish(gateway)
    begin(gateway)
    wait_until(lambda: other.app.state.gateway.fleet.has(NEW))
    engine.fails.add(NEW)
    for half, served in ((USERS[:15], gateway), (USERS[15:], other)):
        answers_by(served, half)
    wait_until(lambda: outcome(other) == "rolled_back")
    wait_until(lambda: gateway.redis.hlen(keys.AUDITS_DUE) == 0)
    audits = [cast(Audit, event).action for _, event in eventlog.read(gateway.redis, "audit")]
    assert audits == ["canary.begin", "canary.abort"]
