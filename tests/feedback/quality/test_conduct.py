from __future__ import annotations

import random
from dataclasses import replace

import pytest

from feedback.quality import agreement, conduct
from feedback.quality.conduct import OUTLIER, POSITION_BIAS, STRAIGHT_LINING, TOO_FAST
from tests.feedback.quality.people import KINDS, Kind, judge, ranked, work


@pytest.mark.parametrize(
    ("seconds", "num_words", "num_sets", "is_raised"),
    [
        (60, 200, 30, False),  # 200 words a minute
        (20, 200, 30, False),  # 600: quick
        (5, 200, 30, True),  # 2,400
        (5, 200, 9, False),  # too few sets to say
        (1, 30, 30, False),  # so short that a glance will do
        (0, 200, 30, False),  # no duration was sent
    ],
)
def test_too_fast(seconds: int, num_words: int, num_sets: int, *, is_raised: bool) -> None:
    rows = [
        ranked(f"s{n}", "anna", 1, 2, duration_ms=seconds * 1000, num_words=num_words)
        for n in range(num_sets)
    ]
    assert conduct.too_fast(rows).is_raised is is_raised


@pytest.mark.parametrize(
    ("first", "second", "is_raised"),
    [
        (10, 10, False),
        (13, 7, False),
        (19, 1, True),
        (60, 40, False),
        (90, 60, False),
        (170, 80, True),
    ],
)
def test_position_bias_of_two(first: int, second: int, *, is_raised: bool) -> None:
    rows = [ranked(f"a{n}", "anna", 1, 2, shown=(0, 1)) for n in range(first)]
    rows += [ranked(f"b{n}", "anna", 1, 2, shown=(1, 0)) for n in range(second)]
    found = conduct.position_bias(rows)
    assert found.is_raised is is_raised
    assert found.size == pytest.approx(first / (first + second) - 0.5)


def test_position_bias_is_measured_where_the_best_answer_was_shown() -> None:
    rows = [
        ranked("x", "anna", 2, 1, 3, shown=(1, 0, 2)),
        ranked("y", "anna", 1, 2, 3, shown=(1, 2, 0)),
        ranked("z", "anna", 1, 1, 2, shown=(0, 1, 2)),  # no one best answer
        ranked("w", "anna", 1, 2, shown=(0, 1)),
    ]
    assert conduct.position_counts(rows) == {3: [1, 0, 1], 2: [1, 0]}


def test_few_sets_are_tested_exactly() -> None:
    """Twelve of twelve at one of four places: chance 4^-11. Chi-squared would say so too, but with
    (3, 3, 3, 3) expected it is no guide in between; under the null 1 in 1,000 stays 1 in 1,000."""
    rng = random.Random(0)
    alarms = 0
    for _ in range(300):
        rows = [ranked(f"s{n}", "anna", *_shuffled(rng), shown=(0, 1, 2, 3)) for n in range(12)]
        alarms += conduct.position_bias(rows).strength < 0.05
    assert alarms / 300 == pytest.approx(0.05, abs=0.035)
    same = [ranked(f"s{n}", "anna", 1, 2, 3, 4, shown=(0, 1, 2, 3)) for n in range(12)]
    assert conduct.position_bias(same).is_raised


@pytest.mark.parametrize(
    ("pattern", "share", "is_raised"),
    [
        ((1, 2, 3, 4), 1.0, True),
        ((1, 1, 1, 1), 0.9, True),  # ties everywhere
        ((1, 1, 1, 1), 0.4, False),
        ((2, 1, 3, 4), 0.7, True),
        ((1, 2, 3, 4), 0.2, False),
    ],
)
def test_straight_lining(pattern: tuple[int, ...], share: float, *, is_raised: bool) -> None:
    rng = random.Random(1)
    rows = [
        ranked(
            f"s{n}", "anna", *(pattern if n < share * 40 else _shuffled(rng)), shown=(0, 1, 2, 3)
        )
        for n in range(40)
    ]
    assert conduct.straight_lining(rows).is_raised is is_raised


def test_a_pattern_is_one_of_the_screen_not_of_the_candidates() -> None:
    rng = random.Random(2)
    shown = [tuple(rng.sample(range(4), 4)) for _ in range(30)]
    rows = [ranked(f"s{n}", "anna", 1, 2, 3, 4, shown=order) for n, order in enumerate(shown)]
    assert not conduct.straight_lining(rows).is_raised
    lined = [
        ranked(f"s{n}", "anna", *(order.index(i) + 1 for i in range(4)), shown=order)
        for n, order in enumerate(shown)
    ]
    assert conduct.straight_lining(lined).is_raised


def test_wealth_stays_low_while_a_labeler_agrees_as_expected() -> None:
    """Ville: whoever agrees as often as expected, or more, passes 20 in one run of twenty at most,
    looked at after every set."""
    rng = random.Random(3)
    alarms = sum(
        conduct.peak_wealth([float(rng.random() < 0.6) for _ in range(300)], expected=0.6) > 20
        for _ in range(400)
    )
    assert 0 < alarms <= 0.05 * 400


def test_wealth_grows_while_a_labeler_contradicts() -> None:
    rng = random.Random(4)
    against = [float(rng.random() < 0.3) for _ in range(100)]
    assert conduct.peak_wealth(against, expected=0.6) > 1000
    assert conduct.peak_wealth([1.0] * 100, expected=0.6) == 1.0
    assert conduct.peak_wealth([], expected=0.6) == 1.0


def test_odds_stay_low_while_events_are_as_rare_as_expected() -> None:
    rng = random.Random(5)
    alarms = sum(
        conduct.peak_odds([rng.random() < 0.05 for _ in range(300)], expected=0.05) > 20
        for _ in range(400)
    )
    assert 0 < alarms <= 0.05 * 400
    assert conduct.peak_odds([rng.random() < 0.25 for _ in range(100)], expected=0.05) > 1000
    assert conduct.peak_odds([], expected=0.05) == 1.0


@pytest.mark.parametrize(("cover", "is_raised"), [(0, True), (1, True), (3, True), (1000, False)])
def test_who_turns_one_topic_round_and_is_honest_on_others_is_an_outlier(
    cover: int, *, is_raised: bool
) -> None:
    """160 sets of three labelers: one in `cover` + 1 of mallory's is reversed."""
    rng = random.Random(6)
    rows = []
    for number in range(160):
        gold = [rng.gauss(0, 1) for _ in range(4)]
        is_poisoned = number % (cover + 1) == 0 and cover < 1000
        for name, kind in (
            ("anna", "average"),
            ("bert", "average"),
            ("mallory", "adversarial" if is_poisoned else "average"),
        ):
            rows.append(ranked(f"s{number}", name, *judge(gold, (0, 1, 2, 3), kind, rng)))
            rows[-1] = replace(rows[-1], created=float(number))
    found = conduct.outlier(agreement.meetings(rows))
    assert found["mallory"].is_raised is is_raised
    assert not found["anna"].is_raised
    assert not found["bert"].is_raised


def test_comparisons_of_two_show_an_outlier_too_and_say_how_others_agree() -> None:
    rows = []
    for number in range(80):
        rows += [ranked(f"s{number}", name, 1, 2) for name in ("anna", "bert")]
        rows.append(ranked(f"s{number}", "cleo", *((2, 1) if number % 10 == 0 else (1, 2))))
        rows.append(ranked(f"s{number}", "dora", 2, 1))
    found = conduct.outlier(agreement.meetings(rows))
    assert [name for name in sorted(found) if found[name].is_raised] == ["dora"]
    # Anna and Bert on all, each of them and Cleo on nine of ten: (80 + 72 + 72) / 240.
    assert "agrees with others on 3%, they among themselves on 93%" in found["dora"].meaning


def test_who_is_wrong_on_most_pairs_of_each_set_but_turns_none_round_is_an_outlier() -> None:
    rows = []
    for number in range(80):
        rows += [ranked(f"s{number}", name, 1, 2, 3, 4) for name in ("anna", "bert", "cleo")]
        rows.append(ranked(f"s{number}", "dora", 3, 4, 1, 2))  # right on two of six pairs
    found = conduct.outlier(agreement.meetings(rows))
    assert [name for name in sorted(found) if found[name].is_raised] == ["dora"]
    assert "turned 0 of 80 sets round" in found["dora"].meaning


def test_flags_name_those_who_earn_them_and_no_honest_labeler() -> None:
    people: dict[str, Kind] = {
        f"{k}{i}": k for k in KINDS for i in range(4 if k == "average" else 1)
    }
    counts: dict[Kind, dict[str, int]] = {kind: {} for kind in KINDS}
    for seed in range(20):
        day = work(people, seed=seed)
        found = conduct.raised(conduct.findings(day.rows, agreement.meetings(day.rows)))
        for name, kind in people.items():
            for flag in found[name]:
                counts[kind][flag] = counts[kind].get(flag, 0) + 1
    assert counts["good"] == counts["average"] == {}
    assert counts["position_biased"][POSITION_BIAS] >= 18
    assert counts["position_biased"][STRAIGHT_LINING] >= 15
    assert counts["adversarial"][OUTLIER] >= 18


def test_findings_say_what_was_measured() -> None:
    rows = [
        ranked(f"s{n}", "anna", 1, 2, duration_ms=2_000, num_words=100, shown=(0, 1))
        for n in range(20)
    ]
    found = conduct.findings(rows, [])["anna"]
    assert set(found) == {TOO_FAST, POSITION_BIAS, STRAIGHT_LINING}
    assert "100% of sets judged faster than 1000 words a minute" in found[TOO_FAST].meaning
    assert "place 1 of 2" in found[POSITION_BIAS].meaning
    assert "100% of sets answered 1-2" in found[STRAIGHT_LINING].meaning


def _shuffled(rng: random.Random) -> list[int]:
    return rng.sample([1, 2, 3, 4], 4)
