from __future__ import annotations

from dataclasses import replace

import pytest

from feedback.quality.intervals import Estimate, mean, share
from training.config import load_recipe
from training.gate import Drift, Evidence, Independent, judge
from training.manner import Manner

LIMITS = load_recipe("cpu-demo").gate.model_copy(
    update={
        "min_win_rate": 0.5,
        "max_kl_nats": 10.0,
        "min_reward_accuracy": 0.5,
        "max_flagged_increase": 0.03,
        "max_perplexity_ratio": 1.02,
        "min_length_ratio": 0.1,
        "max_length_ratio": 2.0,
        "independent_reward": False,
    }
)
NAN = float("nan")


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, num_units=30)


GOOD = Evidence(
    digest="d",
    reward_accuracy=estimate(0.7, 0.6, 0.8),
    win_rate=estimate(0.8, 0.7, 0.9),
    kl_nats=estimate(4.0, 3.0, 5.0),
    flagged_increase=estimate(0.02, 0.01, 0.04),
    loss_candidate=3.01,
    loss_reference=3.0,
    tokens_candidate=20.0,
    tokens_incumbent=40.0,
)


def test_a_better_candidate_passes_and_the_report_names_its_weights() -> None:
    report = judge(GOOD, LIMITS)
    assert report.passed
    assert report.digest == "d"
    assert all(check.passed for check in report.checks)
    assert all(check.evidence for check in report.checks)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"reward_accuracy": estimate(0.55, 0.49, 0.6)}, ["reward_accuracy"]),
        (
            {"reward_accuracy_heldout_labelers": estimate(0.5, 0.4, 0.6)},
            ["reward_accuracy_heldout_labelers"],
        ),
        ({"win_rate": estimate(0.6, 0.5, 0.7)}, ["win_rate"]),
        ({"win_rate": estimate(NAN, 0.0, 1.0)}, ["win_rate"]),
        ({"win_rate": estimate(NAN, 0.9, 1.0)}, ["win_rate"]),
        ({"kl_nats": estimate(9.0, 8.0, 10.5)}, ["kl_nats"]),
        ({"flagged_increase": estimate(0.05, 0.01, 0.09)}, ["flagged_increase"]),
        ({"flagged_increase": mean([])}, ["flagged_increase"]),
        ({"flagged_increase": mean([0.25, 0.25] + [0.0] * 14)}, ["flagged_increase"]),
        ({"flagged_increase": mean([1.0] * 3 + [0.0] * 13)}, ["flagged_increase"]),
        ({"flagged_increase": mean([0.25] + [0.0] * 15)}, []),
        ({"loss_candidate": 3.03}, ["perplexity_ratio"]),
        ({"loss_candidate": NAN}, ["perplexity_ratio"]),
        ({"tokens_candidate": 81.0}, ["length_ratio_high"]),
        ({"tokens_candidate": 3.0}, ["length_ratio_low"]),
        ({"tokens_incumbent": 0.0}, ["length_ratio_high", "length_ratio_low"]),
    ],
)
def test_one_bad_figure_is_enough_to_refuse(change: dict[str, object], failing: list[str]) -> None:
    report = judge(replace(GOOD, **change), LIMITS)  # type: ignore[arg-type]
    assert [check.name for check in report.checks if not check.passed] == failing
    assert report.passed == (not failing)


def test_without_held_out_data_the_answer_is_no() -> None:
    nothing = replace(GOOD, win_rate=share([], []), kl_nats=mean([]), reward_accuracy=share([], []))
    assert not judge(nothing, LIMITS).passed


MANNER = Manner(refusals=0.0, repetition=0.05, entropy_nats=2.0)
DRIFT = Drift(
    kl_incumbent_nats=estimate(4.0, 3.0, 5.0),
    candidate=MANNER,
    incumbent=MANNER,
    flagged_increase={"respectful": mean([0.0]), "adversarial": mean([0.01])},
    engine_gap_nats=0.07,
)


def test_a_candidate_with_the_incumbent_s_manner_passes() -> None:
    report = judge(replace(GOOD, drift=DRIFT), LIMITS)
    assert report.passed
    assert len(report.checks) == len(judge(GOOD, LIMITS).checks) + 8


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"kl_incumbent_nats": estimate(14.0, 12.0, 16.0)}, ["kl_incumbent_nats"]),
        ({"candidate": replace(MANNER, refusals=0.2)}, ["refusal_increase"]),
        ({"candidate": replace(MANNER, refusals=NAN)}, ["refusal_increase"]),
        ({"candidate": replace(MANNER, repetition=0.3)}, ["repetition_increase"]),
        ({"candidate": replace(MANNER, entropy_nats=0.1)}, ["entropy_ratio_low"]),
        ({"candidate": replace(MANNER, entropy_nats=5.0)}, ["entropy_ratio_high"]),
        ({"flagged_increase": {"adversarial": mean([0.05])}}, ["flagged_increase_adversarial"]),
        ({"flagged_increase": {"respectful": mean([])}}, ["flagged_increase_respectful"]),
        ({"engine_gap_nats": 0.5}, ["engine_gap_nats"]),
        ({"engine_gap_nats": NAN}, ["engine_gap_nats"]),
    ],
)
def test_each_drift_alone_refuses(change: dict[str, object], failing: list[str]) -> None:
    report = judge(replace(GOOD, drift=replace(DRIFT, **change)), LIMITS)  # type: ignore[arg-type]
    assert [check.name for check in report.checks if not check.passed] == failing


OPINION = Independent(
    accuracy=estimate(0.6, 0.55, 0.65),
    win_rate=estimate(0.65, 0.55, 0.75),
    proxy_gap=estimate(0.15, 0.05, 0.25),
)
ASKED = LIMITS.model_copy(
    update={
        "independent_reward": True,
        "min_independent_win_rate": 0.5,
        "max_proxy_gap": 0.3,
    }
)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, []),
        ({"accuracy": estimate(0.53, 0.49, 0.57)}, ["independent_accuracy"]),
        ({"accuracy": estimate(NAN, 0.0, 1.0)}, ["independent_accuracy"]),
        ({"win_rate": estimate(0.55, 0.45, 0.65)}, ["independent_win_rate"]),
        ({"win_rate": estimate(NAN, 0.0, 1.0)}, ["independent_win_rate"]),
        ({"proxy_gap": estimate(0.25, 0.15, 0.35)}, ["proxy_gap"]),
        ({"proxy_gap": mean([])}, ["proxy_gap"]),
    ],
)
def test_a_second_judge_who_disagrees_refuses(
    change: dict[str, object], failing: list[str]
) -> None:
    report = judge(replace(GOOD, independent=replace(OPINION, **change)), ASKED)  # type: ignore[arg-type]
    assert [check.name for check in report.checks if not check.passed] == failing
    assert report.passed == (not failing)


def test_a_second_judge_that_was_asked_for_and_is_missing_refuses() -> None:
    report = judge(GOOD, ASKED)
    assert not report.passed
    failed = [check for check in report.checks if not check.passed]
    assert {check.note for check in failed} == {"nobody measured it"}
    assert all(check.evidence for check in report.checks)
    assert judge(GOOD, LIMITS).passed


@pytest.mark.parametrize(
    ("people", "passes"),
    [
        (None, True),
        (estimate(0.3, 0.1, 0.55), True),
        (estimate(0.3, 0.1, 0.49), False),
        (estimate(NAN, 0.0, 1.0), False),
        (estimate(0.9, 0.8, 1.0), True),
    ],
)
def test_people_who_clearly_prefer_the_incumbent_refuse(
    people: Estimate | None, passes: bool
) -> None:
    limits = LIMITS.model_copy(update={"min_people_win_rate": 0.5})
    report = judge(replace(GOOD, people=people), limits)
    (check,) = (check for check in report.checks if check.name == "people_win_rate")
    assert report.passed == check.passed == passes
    assert (check.note == "no judgements yet") == (people is None)
