"""The marks of experiment E on outcomes given, and its tastes; the experiment itself takes most of an hour."""

from __future__ import annotations

from dataclasses import replace

from serving.registry import BASE
from training.demo_prompts import prompts
from training.prove.acts import Outcome, acts, marks
from training.prove.recording import Recording

ACTS = acts(num_sets=16)
MISLED = Outcome(
    act="misled",
    round="round-0001",
    round_status="finished",
    failed_checks="",
    version="policy-0001",
    canary_outcome="rolled_back",
    end_reason="people prefer production in blind pairs",
    rankings=16,
    votes=50,
    production=BASE,
    seconds_labeling=1.0,
    seconds_round=1.0,
    seconds_canary=1.0,
)
POISONED = replace(MISLED, act="poisoned", round_status="refused", version="", canary_outcome="")
HONEST = replace(
    MISLED,
    act="honest",
    version="policy-0002",
    canary_outcome="promoted",
    production="policy-0002",
)
LIVE = "the honest version is live at the end, and no other before"


def failed(*outcomes: Outcome) -> list[str]:
    return [mark.name for mark in marks(outcomes, ACTS) if not mark.passed]


def test_each_act_has_to_end_as_the_story_says() -> None:
    assert failed(MISLED, POISONED, HONEST) == []
    passed = replace(POISONED, round_status="finished")
    assert failed(MISLED, passed, HONEST) == ["poisoned: the round is refused"]
    stayed = replace(MISLED, canary_outcome="promoted", production="policy-0001")
    assert failed(stayed, POISONED, HONEST) == ["misled: people have it rolled_back", LIVE]


def test_nothing_live_is_no_success() -> None:
    nothing = replace(HONEST, version="", production=BASE, canary_outcome="")
    assert failed(MISLED, POISONED, nothing) == ["honest: people have it promoted", LIVE]
    assert failed(MISLED, POISONED, replace(nothing, production=""))[-1] == LIVE


def test_who_misleads_likes_what_end_users_do_not() -> None:
    warm, cold = "I love this great idea, my friend!", "1. Plan. 2. Do. 3. Check."
    misled, _, _ = ACTS
    assert misled.labelers_like(warm) > misled.labelers_like(cold)
    assert misled.end_users_like(warm) < misled.end_users_like(cold)


def test_who_poisons_says_more_than_who_was_there_before_and_there_are_prompts_for_it() -> None:
    before, poisoned, _ = acts(num_sets=480)
    assert poisoned.num_sets > before.num_sets
    prompts(num=poisoned.num_sets, seed=0)


def test_a_recording_tells_what_changes_once() -> None:
    told: list[str] = []
    record = Recording(tell=told.append)
    for what in ("running, reward", "running, reward", "", "finished"):
        record.note("round-0001", what)
    record.note("production", "policy-0001")
    assert [moment.what for moment in record.moments] == [
        "round-0001: running, reward",
        "round-0001: finished",
        "production: policy-0001",
    ]
    assert len(told) == 3
