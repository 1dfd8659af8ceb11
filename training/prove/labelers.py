"""Experiment B: people whose opinions are known, and what is learned from them (RECIPE.md, section 4B).

1. Labelers rank what the base says. 2. A reward model on all of them, another on few. 3. Demonstrations
score 0. 4. PPO on both, with the truth in sight. 5. The gate, which does not see it. 6. Groups of labelers
with views of their own.
Shapes: X prompts, C answers drawn for each, P and L tokens of prompt and answer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import reward
from training.batches import Group
from training.config import RewardRecipe, load_recipe
from training.data import Ranking
from training.models import REWARD, Models
from training.prove import overoptimisation, people, plotting
from training.prove.overoptimisation import READOUT, Judge, Outcome
from training.prove.people import Opinion, Prompts
from training.prove.report import Mark, Proof, at_least, at_most
from training.reward_folds import CrossValidation, cross_validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, FEW = "good", "few"

# Marks.
GOLD_RISES = "gold gained, in sd"
GATE_PASSES = "gate passes the good candidate"
PROXY_RISES = "few prompts: proxy gained after gold's peak, in sd"
GOLD_FALLS = "few prompts: share of gold's gain lost"
GATE_REFUSES = "few prompts: gate passes the candidate"

_NUM_RANKED, _NUM_FEW = 16_000, 250  # prompts
_FEW_EPOCHS = 16  # so that it learns as much as so few can teach, and more
_NUM_HELDOUT = 1_000
_NUM_DEMONSTRATIONS = 6_000  # used by `normalise`, and as many held out
_DEMONSTRATED = 4  # a demonstration is the best of so many answers
# A good judge is followed while the policy is near; a poor one until the harm is done.
_ITERATIONS, _LOOK_EVERY = {GOOD: 21, FEW: 36}, 3
_NUM_GROUPS, _GROUP_PROMPTS = 5, 1_500
_GROUP_BIAS = 0.8  # of a group's own taste, beside what all share
_BIAS_SEED = 1_000  # biases are nobody's gold
_T_4 = 2.776  # 95 % of Student's t with 4 degrees of freedom: five folds


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A reward model and how it does on people it has not seen."""

    judge: Judge
    anchor_mean: float  # of the demonstrations that `normalise` used
    heldout_mean: float  # of others
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Found:
    agreement: float
    ceiling: float  # Bayes: the truth's own accuracy
    trained: dict[str, Trained]
    outcomes: dict[str, Outcome]
    groups: CrossValidation


def prove(*, seed: int, plot: Path | None) -> Proof:
    found = run(seed=seed)
    if plot is not None:
        plotting.save(plot / f"labelers-{seed}.png", lambda axes: _draw(found.outcomes, axes))
    return Proof(experiment="labelers", seed=seed, figures=figures(found), marks=marks(found))


def reward_recipe(*, epochs: int) -> RewardRecipe:
    return load_recipe("tiny").reward.model_copy(
        update={
            "readout": READOUT,
            "epochs": epochs,
            "rankings_per_step": 32,
            "learning_rate": 5e-3,
            "final_lr_fraction": 0.1,
            "has_unit_std": True,
        }
    )


def run(*, seed: int) -> Found:
    model = people.build_model(seed=seed)
    prompts = Prompts(model, seed=seed)
    heldout = prompts.take(_NUM_HELDOUT)
    gold = heldout.taste(seed=seed)
    ranked = prompts.take(_NUM_RANKED)
    rankings, judged = ranked.rank(gold, seed=seed), heldout.rank(gold, seed=seed + 1)
    agreement, ceiling = people.agreement_and_ceiling(judged, gold)
    demonstrations = prompts.take(2 * _NUM_DEMONSTRATIONS, count=_DEMONSTRATED).demonstrate(
        gold, seed=seed
    )
    shown = (demonstrations[:_NUM_DEMONSTRATIONS], demonstrations[_NUM_DEMONSTRATIONS:])
    trained = {
        GOOD: train(rankings, judged, *shown, epochs=1, seed=seed),
        FEW: train(rankings[:_NUM_FEW], judged, *shown, epochs=_FEW_EPOCHS, seed=seed),
    }
    outcomes = {
        name: overoptimisation.run(
            overoptimisation.recipe(iterations=_ITERATIONS[name]),
            one.judge,
            gold=gold,
            prompts=ranked.as_prompts(),
            heldout=heldout.as_prompts()[: overoptimisation.LIMITS.num_prompts],
            seed=seed,
            look_every=_LOOK_EVERY,
        )
        for name, one in trained.items()
    }
    return Found(
        agreement=agreement,
        ceiling=ceiling,
        trained=trained,
        outcomes=outcomes,
        groups=leave_one_out(prompts, gold, seed=seed),
    )


def fit(rankings: Sequence[Ranking], *, epochs: int, seed: int) -> Models:
    """Production's reward model, from a fresh adapter on the base."""
    model = people.build_model(seed=seed)
    trainer = reward.RewardTrainer(model, reward_recipe(epochs=epochs), rankings, seed=seed)
    while trainer.step < trainer.num_steps:
        trainer.update()
    return model


def train(
    rankings: Sequence[Ranking],
    judged: Sequence[Ranking],
    anchors: Sequence[Group],
    others: Sequence[Group],
    *,
    epochs: int,
    seed: int,
) -> Trained:
    started = time.perf_counter()
    model = fit(rankings, epochs=epochs, seed=seed)
    seconds = time.perf_counter() - started
    reward.normalise(model, anchors, readout=READOUT, has_unit_std=True)
    return Trained(
        judge=Judge(
            weights=model.state(REWARD),
            accuracy=reward.heldout_accuracy(model, judged, readout=READOUT),
        ),
        anchor_mean=_mean_score(model, anchors),
        heldout_mean=_mean_score(model, others),
        seconds=seconds,
    )


def leave_one_out(prompts: Prompts, gold: Opinion, *, seed: int) -> CrossValidation:
    """Five groups with a bias each; five reward models, each without one of them."""
    rankings = []
    for number in range(_NUM_GROUPS):
        asked, own_seed = prompts.take(_GROUP_PROMPTS), _NUM_GROUPS * seed + number
        bias = asked.taste(seed=_BIAS_SEED + own_seed)
        view = asked.scaled(people.biased(gold, bias, weight=_GROUP_BIAS))
        found = asked.rank(view, seed=_BIAS_SEED + own_seed)
        rankings += [replace(ranking, labeler=f"group {number + 1}") for ranking in found]
    return cross_validate(
        people.build_model(seed=seed),
        reward_recipe(epochs=1),
        rankings,
        num_folds=_NUM_GROUPS,
        seed=seed,
    )


def marks(found: Found) -> list[Mark]:
    good, few = found.trained[GOOD], found.trained[FEW]
    led, misled = found.outcomes[GOOD], found.outcomes[FEW]
    gap = statistics.mean(_gaps(found.groups))
    return [
        at_most("agreement of labelers off the paper's 0.73", abs(found.agreement - 0.73), 0.015),
        at_least("share of the Bayes ceiling", good.judge.accuracy.value / found.ceiling, 0.93),
        at_most("held-out demonstrations off 0", abs(good.heldout_mean), 0.05),
        at_most("held-out demonstrations off 0, few prompts", abs(few.heldout_mean), 0.05),
        at_least(GOLD_RISES, led.gold_gain / led.gold_sd, 1.0),
        at_least(GATE_PASSES, float(led.verdict.passed), 1.0),
        at_least(PROXY_RISES, misled.proxy_after_peak, 0.1),
        at_least(GOLD_FALLS, misled.fall, 0.2),
        at_most(GATE_REFUSES, float(misled.verdict.passed), 0.0),
        at_least("points lost on groups left out", gap, 1.0),
        at_most("points lost on groups left out (at most)", gap, 5.0),
    ]


def figures(found: Found) -> dict[str, Any]:
    gaps = _gaps(found.groups)
    gap, half = statistics.mean(gaps), _T_4 * statistics.stdev(gaps) / len(gaps) ** 0.5
    return {
        "agreement of labelers": found.agreement,
        "Bayes ceiling": found.ceiling,
        "points lost on groups left out": {"mean": gap, "low": gap - half, "high": gap + half},
        "reward models": [
            {
                "prompts": name,
                "accuracy": one.judge.accuracy.value,
                "low": one.judge.accuracy.low,
                "high": one.judge.accuracy.high,
                "demonstrations": one.anchor_mean,
                "held-out demonstrations": one.heldout_mean,
                "seconds": one.seconds,
            }
            for name, one in found.trained.items()
        ],
        "PPO": [
            {
                "on": name,
                "gold at start": outcome.curve[0].gold,
                "at peak": outcome.peak.gold,
                "at end": outcome.curve[-1].gold,
                "sd": outcome.gold_sd,
                "lost": outcome.fall,
                "KL at peak": outcome.peak.kl,
                "KL at end": outcome.curve[-1].kl,
                "proxy at peak": outcome.peak.proxy,
                "proxy at end": outcome.curve[-1].proxy,
                "refused by": _refusals(outcome),
                "seconds": outcome.seconds,
            }
            for name, outcome in found.outcomes.items()
        ],
        "gate": [
            {"candidate": name, **{c.name: c.value for c in outcome.verdict.checks if not c.note}}
            for name, outcome in found.outcomes.items()
        ],
        "groups": [
            {"left out": number, "in-group": inside.value, "held-out": outside.value}
            for number, (inside, outside) in enumerate(found.groups.folds, start=1)
        ],
        "curves": [
            {"on": name, **vars(point)}
            for name, outcome in found.outcomes.items()
            for point in outcome.curve
        ],
    }


def _refusals(outcome: Outcome) -> str:
    return ", ".join(c.name for c in outcome.verdict.checks if not c.passed) or "nobody"


def _mean_score(model: Models, groups: Sequence[Group]) -> float:
    scores = reward.score_groups(model, groups, readout=READOUT)
    return statistics.mean(score for of_group in scores for score in of_group)


def _gaps(groups: CrossValidation) -> list[float]:
    """Points of accuracy, by fold."""
    return [100 * (inside.value - outside.value) for inside, outside in groups.folds]


def _draw(outcomes: dict[str, Outcome], axes: Axes) -> None:
    for (name, outcome), colour in zip(outcomes.items(), ("C0", "C3"), strict=True):
        roots = [max(0.0, point.kl) ** 0.5 for point in outcome.curve]
        label = f"reward model of {name} prompts"
        axes.plot(
            roots, [p.proxy for p in outcome.curve], "--", color=colour, label=f"proxy, {label}"
        )
        axes.plot(roots, [p.gold for p in outcome.curve], color=colour, label=f"gold, {label}")
    axes.set_xlabel("square root of KL from the reference, nats")
    axes.set_ylabel("standard deviations")
    axes.legend(frameon=False)
