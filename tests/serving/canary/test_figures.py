from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.canary import figures
from serving.canary.figures import SILENT_S, VOTES_EACH, Arm, Figures, Firsts, Pairs, bucket

SEEDED = settings(deadline=None, derandomize=True, database=None)

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=40)


def test_a_person_counts_once_in_the_arm_where_it_first_happened() -> None:
    firsts = Firsts()
    for _ in range(5):
        firsts.add("ann", "canary", share=0.1)
        firsts.add("ann", "production", share=0.1)
        firsts.add("bob", "production", share=0.1)
    firsts.add("eve", "canary", share=0.3)
    assert sorted(firsts.by_share()) == [(0.1, 1, 1), (0.3, 1, 0)]


@SEEDED
@given(SCORES)
def test_one_voter_is_one_unit_however_often_they_vote(scores: list[float]) -> None:
    pairs = Pairs()
    for number, score in enumerate(scores):
        pairs.add("ann", f"fbk_{number}", score, of=f"set{number}", now=float(number))
    pairs.close_silent(now=1e9)
    assert sum(people for _, people in pairs.units()) == min(1, len(scores))
    assert pairs.votes == len(scores)
    first = scores[:VOTES_EACH]
    if scores:
        assert pairs.units()[0][0] == pytest.approx(sum(first) / len(first), abs=1e-6)


def test_votes_count_once_they_are_complete_or_the_voter_has_left() -> None:
    pairs = Pairs()
    pairs.add("ann", "fbk_1", 1.0, of="set1", now=0.0)
    assert not pairs.close_silent(now=SILENT_S - 1)
    assert pairs.units() == []
    assert pairs.close_silent(now=SILENT_S)
    assert pairs.units() == [(1.0, 1)]


def test_a_vote_can_be_taken_back_until_it_has_counted() -> None:
    pairs = Pairs()
    pairs.add("ann", "fbk_1", 0.5, of="set1", now=0.0)
    pairs.take_back("bob", "fbk_1")
    assert (pairs.votes, pairs.ties) == (1, 1)
    pairs.take_back("ann", "fbk_1")
    assert (pairs.votes, pairs.wins, pairs.ties, pairs.open, pairs.sets) == (0, 0.0, 0, {}, {})
    for number in range(VOTES_EACH):
        pairs.add("ann", f"fbk_{number}", 1.0, of=f"set{number}", now=0.0)
    pairs.take_back("ann", "fbk_0")
    assert pairs.units() == [(1.0, 1)]


def test_a_set_counts_for_whoever_judges_it_first() -> None:
    pairs = Pairs()
    for number in range(30):
        pairs.add(f"person{number}", f"fbk_{number}", 1.0, of="the same two answers", now=0.0)
    pairs.close_silent(now=1e9)
    assert (pairs.votes, pairs.units()) == (30, [(1.0, 1)])


def test_figures_survive_the_way_to_redis_and_back() -> None:
    kept = Figures(canary="can_1", through={"completions": "5-0", "feedback": "0-0"})
    kept.arms["canary"] = Arm(answers=3, errors=1, latency={12: 2}, first_token={9: 1})
    kept.bad["errors"].add("ann", "canary", share=0.1)
    kept.pairs.add("bob", "fbk_1", 0.5, of="set1", now=3.0)
    for number in range(VOTES_EACH):
        kept.pairs.add("eve", f"fbk_e{number}", 1.0, of=f"own{number}", now=4.0)
    assert figures.load(kept.dump()) == kept


@SEEDED
@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=50))
def test_times_are_right_to_a_tenth(times_ms: list[float]) -> None:
    arm = Arm(answers=len(times_ms))
    for ms in times_ms:
        arm.latency[bucket(ms)] = arm.latency.get(bucket(ms), 0) + 1
    middle = sorted(times_ms)[(len(times_ms) - 1) // 2]
    assert arm.shown()["latency_ms"]["p50"] == pytest.approx(middle, rel=0.11)


def test_nothing_counted_shows_no_rates() -> None:
    shown = Arm().shown()
    assert shown["answers"] == 0
    assert shown["error_rate"] is shown["latency_ms"] is None
