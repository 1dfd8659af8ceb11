"""The e-values, held against what defines them: exact sums over everything that chance can do."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.canary.evidence import harm, losses, win_rate_interval, wins
from serving.canary.figures import Units

SEEDED = settings(deadline=None, derandomize=True, database=None)

VOTES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), st.integers(1, 60)), max_size=5
)


@SEEDED
@given(st.floats(0.01, 0.9), st.integers(0, 12))
def test_without_a_difference_harm_is_worth_one_on_average(share: float, people: int) -> None:
    """So it is a fair game, at every length: its e-value reaches 100 with a probability of 1 % at most."""
    mean = sum(
        math.comb(people, canary)
        * share**canary
        * (1 - share) ** (people - canary)
        * harm([(share, canary, people - canary)])
        for canary in range(people + 1)
    )
    assert mean == pytest.approx(1.0, rel=1e-9)


def test_harm_is_fair_when_the_share_grows_on_the_way() -> None:
    mean = 0.0
    for drawn in product((0, 1), repeat=6):
        shares = (0.1, 0.1, 0.1, 0.5, 0.5, 0.5)
        chance = math.prod(s if d else 1 - s for s, d in zip(shares, drawn, strict=True))
        early, late = sum(drawn[:3]), sum(drawn[3:])
        mean += chance * harm([(0.1, early, 3 - early), (0.5, late, 3 - late)])
    assert mean == pytest.approx(1.0)


@SEEDED
@given(st.floats(0.05, 0.95))
def test_wins_are_fair_where_people_are_indifferent_on_average(rate: float) -> None:
    """Whatever a person's votes are like, as long as people do not prefer the canary on average."""
    for each, chance in (((0.0, 1.0), (1 - rate, rate)), ((0.5, 1.0, 0.0), (0.2, 0.4, 0.4))):
        over = sum(v * p for v, p in zip(each, chance, strict=True))
        mean = 0.0
        for votes in product(range(len(each)), repeat=4):
            mean += math.prod(chance[v] for v in votes) * wins(
                [(each[v], 1) for v in votes], over=over
            )
        assert mean == pytest.approx(1.0)


@SEEDED
@given(VOTES)
def test_a_loss_is_a_win_seen_from_the_other_side(votes: Units) -> None:
    mirrored = [(1 - vote, people) for vote, people in votes]
    assert losses(votes) == pytest.approx(wins(mirrored), rel=1e-9)
    assert min(losses(votes), wins(votes)) <= 1 + 1e-9  # both cannot speak


@SEEDED
@given(VOTES, st.integers(1, 40))
def test_another_person_who_prefers_the_canary_never_speaks_against_it(
    votes: Units, more: int
) -> None:
    after = [*votes, (1.0, more)]
    assert wins(after) >= wins(votes)
    assert losses(after) <= losses(votes)


def test_nothing_is_known_at_first_and_no_number_is_too_large() -> None:
    assert harm([]) == wins([]) == losses([]) == 1.0
    assert wins([(1.0, 10**9)]) < math.inf
    assert wins([(0.0, 10**9)]) >= 0.0
    assert win_rate_interval([], alpha=0.05) == (0.0, 1.0)


def test_three_people_whose_answers_all_fail_are_enough_at_a_tenth() -> None:
    assert harm([(0.1, 2, 0)]) < 100 < harm([(0.1, 3, 0)])
    assert harm([(0.1, 3, 27)]) < 1.0


def test_nine_people_who_agree_are_enough_and_one_with_many_votes_is_not() -> None:
    assert wins([(1.0, 8)]) < 100 < wins([(1.0, 9)])
    assert wins([(1.0, 1)]) < 2.0


@SEEDED
@given(VOTES)
def test_the_interval_holds_the_mean_of_what_was_seen(votes: Units) -> None:
    low, high = win_rate_interval(votes, alpha=0.05)
    people = sum(count for _, count in votes)
    if people:
        mean = sum(vote * count for vote, count in votes) / people
        assert low - 0.011 <= mean <= high + 0.011
    assert 0.0 <= low <= high <= 1.0
