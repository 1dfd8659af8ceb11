"""Experiment B, small: what its marks notice, and that its people are who they should be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedback.quality.intervals import Estimate, mean
from training import reward
from training.data import Ranking
from training.gate import Evidence, judge
from training.prove import labelers, overoptimisation, people
from training.prove.labelers import FEW, GOOD, Found, Trained
from training.prove.overoptimisation import LIMITS, READOUT, Judge, Outcome, Point
from training.prove.people import Opinion, Part, Prompts
from training.reward_folds import CrossValidation

NUM_PROMPTS = 250


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(people.build_model(seed=0), seed=0)


@pytest.fixture(scope="module")
def heldout(prompts: Prompts) -> Part:
    return prompts.take(200)


@pytest.fixture(scope="module")
def gold(heldout: Part) -> Opinion:
    return heldout.taste(seed=0)


@pytest.fixture(scope="module")
def rankings(prompts: Prompts, gold: Opinion) -> list[Ranking]:
    return prompts.take(NUM_PROMPTS).rank(gold, seed=0)


@pytest.fixture(scope="module")
def trained(prompts: Prompts, heldout: Part, gold: Opinion, rankings: list[Ranking]) -> Trained:
    shown = prompts.take(2_000, count=4).demonstrate(gold, seed=0)
    judged = heldout.rank(gold, seed=1)
    return labelers.train(rankings, judged, shown[:1_000], shown[1_000:], epochs=5, seed=0)


def test_labelers_agree_as_often_as_the_papers(heldout: Part, gold: Opinion) -> None:
    agreement, ceiling = people.agreement_and_ceiling(heldout.rank(gold, seed=1), gold)
    assert agreement == pytest.approx(0.73, abs=0.015)
    assert ceiling == pytest.approx(0.803, abs=0.015)


def test_two_labelers_agree_as_often_as_is_computed(heldout: Part, gold: Opinion) -> None:
    first, second = (heldout.rank(gold, seed=seed) for seed in (1, 2))
    wins, total = 0, 0
    for one, other in zip(first, second, strict=True):
        ranks = dict(zip(other.group.answers, other.ranks, strict=True))
        both = [
            (rank, ranks[a])
            for a, rank in zip(one.group.answers, one.ranks, strict=True)
            if a in ranks
        ]
        wins += sum(p < r and q < s for p, q in both for r, s in both)
        total += len(both) * (len(both) - 1) // 2
    computed, _ = people.agreement_and_ceiling(first, gold)
    assert wins / total == pytest.approx(computed, abs=0.03)


def test_few_rankings_teach_something_and_demonstrations_nobody_trained_on_score_zero(
    trained: Trained,
) -> None:
    assert trained.judge.accuracy.low > 0.58
    assert abs(trained.anchor_mean) < 1e-4
    assert abs(trained.heldout_mean) < 0.13  # three standard errors of twice 1,000


def test_rankings_turned_upside_down_fail_the_mark(
    rankings: list[Ranking], trained: Trained, heldout: Part, gold: Opinion
) -> None:
    worst_first = [replace(r, ranks=tuple(len(r.ranks) + 1 - n for n in r.ranks)) for r in rankings]
    model = labelers.fit(worst_first, epochs=3, seed=0)
    accuracy = reward.heldout_accuracy(model, heldout.rank(gold, seed=1), readout=READOUT)
    assert accuracy.high < 0.5
    assert "share of the Bayes ceiling" in failed(found_with(accuracy))


def test_ppo_follows_its_judge_and_the_gate_refuses_what_a_poor_judge_taught(
    trained: Trained, prompts: Prompts, heldout: Part, gold: Opinion
) -> None:
    outcome = overoptimisation.run(
        overoptimisation.recipe(iterations=5),
        trained.judge,
        gold=gold,
        prompts=prompts.take(500).as_prompts(),
        heldout=heldout.as_prompts()[:100],
        seed=0,
        look_every=5,
    )
    start, end = outcome.curve
    assert start.kl == pytest.approx(0, abs=1e-4)
    assert end.kl > 0.05
    assert end.proxy > start.proxy + 0.1
    assert not outcome.verdict.passed
    assert "reward_accuracy" in [c.name for c in outcome.verdict.checks if not c.passed]


def sure(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, num_units=1_000)


EVIDENCE = Evidence(
    digest="d",
    reward_accuracy=sure(0.77),
    win_rate=sure(0.9),
    kl_nats=sure(4.0, half=0.4),
    flagged_increase=mean([0.0]),
    loss_candidate=2.02,
    loss_reference=2.0,
    tokens_candidate=4.0,
    tokens_incumbent=4.0,
)


@pytest.mark.parametrize(
    ("change", "refused_by"),
    [
        ({}, []),
        ({"reward_accuracy": sure(0.69)}, ["reward_accuracy"]),
        ({"reward_accuracy": sure(0.74, half=0.03)}, ["reward_accuracy"]),
        ({"kl_nats": sure(7.5)}, ["kl_nats"]),
        ({"loss_candidate": 2.1}, ["perplexity_ratio"]),
        ({"win_rate": sure(0.5)}, ["win_rate"]),
    ],
)
def test_the_limits_refuse_a_poor_judge_a_long_way_and_forgotten_text(
    change: dict[str, object], refused_by: list[str]
) -> None:
    report = judge(replace(EVIDENCE, **change), LIMITS)  # type: ignore[arg-type]
    assert [c.name for c in report.checks if not c.passed] == refused_by
    assert report.passed == (not refused_by)


def curve(*gold: float) -> list[Point]:
    return [Point(iteration=i, kl=i, proxy=i, gold=value) for i, value in enumerate(gold)]


def outcome(*gold: float, reward_accuracy: float) -> Outcome:
    evidence = replace(EVIDENCE, reward_accuracy=sure(reward_accuracy))
    return Outcome(curve=curve(*gold), verdict=judge(evidence, LIMITS), gold_sd=1.0, seconds=1.0)


def found_with(accuracy: Estimate) -> Found:
    """Experiment B as it should be, but for the reward model's accuracy."""
    good = Trained(
        judge=Judge(weights={}, accuracy=accuracy),
        anchor_mean=0.0,
        heldout_mean=0.01,
        seconds=1.0,
    )
    return Found(
        agreement=0.73,
        ceiling=0.803,
        trained={GOOD: good, FEW: good},
        outcomes={
            GOOD: outcome(0.0, 1.0, 1.5, reward_accuracy=0.77),
            FEW: outcome(0.0, 1.0, 0.6, reward_accuracy=0.69),
        },
        groups=CrossValidation(
            in_group=sure(0.72), held_out_group=sure(0.69), folds=((sure(0.72), sure(0.69)),) * 5
        ),
    )


def failed(found: Found) -> list[str]:
    return [mark.name for mark in labelers.marks(found) if not mark.passed]


FOUND = found_with(sure(0.77))


def test_the_marks_hold_for_what_the_recipe_asks() -> None:
    assert failed(FOUND) == []


@pytest.mark.parametrize(
    ("few", "good", "failing"),
    [
        (outcome(0.0, 1.0, 0.9, reward_accuracy=0.69), None, labelers.GOLD_FALLS),
        (outcome(0.0, 0.5, 1.0, reward_accuracy=0.69), None, labelers.PROXY_RISES),
        (outcome(0.0, 1.0, 0.6, reward_accuracy=0.77), None, labelers.GATE_REFUSES),
        (None, outcome(0.0, 0.5, 0.9, reward_accuracy=0.77), labelers.GOLD_RISES),
        (None, outcome(0.0, 1.0, 1.5, reward_accuracy=0.69), labelers.GATE_PASSES),
    ],
)
def test_each_mark_of_ppo_and_the_gate_can_fail(
    few: Outcome | None, good: Outcome | None, failing: str
) -> None:
    outcomes = {
        GOOD: good or FOUND.outcomes[GOOD],
        FEW: few or FOUND.outcomes[FEW],
    }
    assert failing in failed(replace(FOUND, outcomes=outcomes))


@pytest.mark.parametrize("left_out", [0.72, 0.715, 0.66])
def test_groups_that_differ_too_little_or_too_much_fail(left_out: float) -> None:
    groups = replace(FOUND.groups, folds=((sure(0.72), sure(left_out)),) * 5)
    assert len(failed(replace(FOUND, groups=groups))) == 1


def test_a_misled_run_loses_a_share_of_what_it_had_gained() -> None:
    misled = outcome(1.0, 3.0, 2.0, reward_accuracy=0.69)
    assert misled.fall == pytest.approx(0.5)
    assert misled.gold_gain == pytest.approx(1.0)
    assert misled.proxy_after_peak == pytest.approx(1.0)
