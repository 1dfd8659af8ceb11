from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from scipy import stats

from feedback.quality import agreement, conduct, trust
from feedback.quality.trust import OUTLIER, REFERENCE_ACCURACY, Tally
from tests.feedback.quality.people import KINDS, Day, Kind, ranked, work

PEOPLE: dict[str, Kind] = {
    f"{kind}-{number}": kind
    for kind in KINDS
    for number in range({"good": 3, "average": 4}.get(kind, 1))
}


def records(*names: str, status: str = "active", is_heldout: bool = False) -> dict[str, Any]:
    return {name: SimpleNamespace(status=status, is_heldout=is_heldout) for name in names}


def assessed(day: Day) -> dict[str, trust.Trust]:
    found = conduct.findings(day.rows, agreement.meetings(day.rows))
    flags = conduct.raised(found)
    return trust.assess(day.rows, known=day.known, labelers=records(*PEOPLE), flags=flags)


@pytest.mark.parametrize(
    ("right", "total", "flags", "expected"),
    [
        (0, 0, (), 1.0),  # nothing known: the prior
        (1000 * REFERENCE_ACCURACY, 1000, (), 1.0),
        (990, 1000, (), 1.0),
        (500, 1000, (), 0.0),
        (200, 1000, (), 0.0),
        (668, 1000, (), 0.5),  # half way between chance and the reference
        (990, 1000, ("too_fast",), 0.5),
        (990, 1000, ("position_bias", "straight_lining"), 0.25),
        (990, 1000, (OUTLIER,), 0.0),
    ],
)
def test_weight(right: float, total: float, flags: tuple[str, ...], expected: float) -> None:
    accuracy = Tally(right=right, total=total).accuracy
    assert trust.weight(accuracy, flags=flags) == pytest.approx(expected, abs=0.01)


def test_two_labelers_of_the_reference_accuracy_agree_as_the_paper_s_did() -> None:
    both_right, both_wrong = REFERENCE_ACCURACY**2, (1 - REFERENCE_ACCURACY) ** 2
    assert both_right + both_wrong == pytest.approx(0.726)


def test_known_answers_count_a_set_of_k_as_k_minus_one_comparisons() -> None:
    rows = [
        ranked("k", "anna", 1, 2, 3, 4),
        ranked("k", "bert", 4, 3, 2, 1),
        ranked("k", "cleo", 1, 1, 1, 1),
    ]
    known = {"k": {0: 1, 1: 2, 2: 3, 3: 4}}
    found = trust.known_tallies(rows, known=known)
    assert found["anna"] == Tally(right=pytest.approx(3), total=pytest.approx(3))
    assert found["bert"] == Tally(right=0, total=pytest.approx(3))
    assert found["cleo"] == Tally(right=pytest.approx(1.5), total=pytest.approx(3))


def test_who_contradicts_the_others_is_found_wrong_without_any_known_answer() -> None:
    rows = []
    for number in range(40):
        rows += [ranked(f"s{number}", name, 1, 2, 3) for name in ("anna", "bert", "cleo")]
        rows.append(ranked(f"s{number}", "dora", 3, 2, 1))
    found = trust.one_coin(rows, start={})
    assert found["anna"].accuracy > 0.95
    assert found["dora"].accuracy < 0.1


def test_known_answers_decide_who_of_two_is_right() -> None:
    rows = [
        row
        for n in range(20)
        for row in (ranked(f"s{n}", "anna", 1, 2), ranked(f"s{n}", "bert", 2, 1))
    ]
    start = {"anna": Tally(right=20, total=20), "bert": Tally(right=8, total=20)}
    found = trust.one_coin(rows, start=start)
    assert found["anna"].accuracy > 0.9
    assert found["bert"].accuracy < 0.45


@pytest.mark.parametrize(
    ("status", "expected"), [("active", 1.0), ("screening", 0.0), ("failed", 0.0), ("blocked", 0.0)]
)
def test_only_an_active_labeler_has_a_say(status: str, expected: float) -> None:
    rows = [ranked("k", "anna", 1, 2, 3, 4)]
    known = {"k": {0: 1, 1: 2, 2: 3, 3: 4}}
    found = trust.weights(rows, known=known, labelers=records("anna", status=status), flags={})
    assert found == {"anna": expected}


def test_a_labeler_without_a_record_weighs_nothing() -> None:
    rows = [ranked("x", "anna", 1, 2)]
    assert trust.weights(rows, known={}, labelers={}, flags={}) == {"anna": 0.0}


def test_a_key_that_nobody_checked_weighs_one_and_less_once_others_contradict_it() -> None:
    rows = [ranked("x", "key_1", 1, 2, source="key")]
    assert trust.weights(rows, known={}, labelers={}, flags={}) == {"key_1": 1.0}
    for number in range(20):
        rows += [ranked(f"s{number}", name, 1, 2, 3) for name in ("anna", "bert")]
        rows.append(ranked(f"s{number}", "key_1", 3, 2, 1, source="key"))
    found = trust.weights(rows, known={}, labelers=records("anna", "bert"), flags={})
    assert found == {"key_1": 0.0, "anna": 1.0, "bert": 1.0}


def test_a_held_out_labeler_moves_nobody_s_weight() -> None:
    rows = []
    for number in range(30):
        rows += [ranked(f"s{number}", "anna", 1, 2, 3), ranked(f"s{number}", "hal", 3, 2, 1)]
    people = records("anna") | records("hal", is_heldout=True)
    assert trust.weights(rows, known={}, labelers=people, flags={})["anna"] == pytest.approx(1.0)
    people = records("anna", "hal")
    assert trust.weights(rows, known={}, labelers=people, flags={})["anna"] < 0.9


def test_a_key_that_uses_a_labeler_s_name_does_not_speak_for_them() -> None:
    forged = [ranked(f"k{n}", "anna", 2, 1, source="key") for n in range(30)]
    known = {f"k{n}": {0: 1, 1: 2} for n in range(30)}
    found = trust.assess(
        [ranked("x", "anna", 1, 2), *forged], known=known, labelers=records("anna"), flags={}
    )
    assert found["anna"].weight == 1.0


def test_trust_ranks_labelers_by_how_reliable_they_are() -> None:
    """Acceptance of issue 4: good, average, position-biased, lazy and adversarial people, 20 seeds."""
    rank_correlations, num_right = [], 0
    for seed in range(20):
        day = work(PEOPLE, seed=seed)
        found = assessed(day)
        truth = [day.accuracy[name] for name in PEOPLE]
        estimated = [found[name].tally.accuracy for name in PEOPLE]
        rank_correlations.append(float(stats.spearmanr(truth, estimated)[0]))
        weights = {
            kind: [found[name].weight for name in PEOPLE if PEOPLE[name] == kind] for kind in KINDS
        }
        honest = min(weights["good"] + weights["average"])
        others = max(weights["position_biased"] + weights["lazy"] + weights["adversarial"])
        num_right += others < honest and weights["adversarial"] == [0.0]
    average = sum(rank_correlations) / len(rank_correlations)
    sys.stdout.write(
        f"Spearman {average:.3f} on average, {min(rank_correlations):.3f} at least; every honest "
        f"labeler above every other in {num_right} of 20 seeds\n"
    )
    assert num_right == 20
    assert average > 0.95
    assert min(rank_correlations) > 0.8


def test_the_credible_interval_is_as_wide_as_the_evidence_is_thin() -> None:
    few, many = Tally(right=8, total=10).estimate(), Tally(right=800, total=1000).estimate()
    assert few.low < 0.7 < few.value < few.high
    assert many.high - many.low < 0.06 < few.high - few.low
    assert many.low < 0.8 < many.high
