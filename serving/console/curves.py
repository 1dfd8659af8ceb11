"""Which curves of a round are drawn first, and all the others. Public metric names, as in metrics.jsonl."""

from __future__ import annotations

from dataclasses import dataclass

from serving.console.plots import Plot, against, curve
from serving.oversight.round_files import Curves

_FIRST = {
    "ppo": (
        *("objective/scores", "objective/kl", "objective/rlhf_reward", "objective/entropy"),
        *("ppo/policy/clipfrac", "ppo/policy/approxkl", "ppo/val/explained_variance"),
        *("ppo/ptx_loss", "response/tokens"),
    ),
    "reward": ("reward/loss", "reward/train_accuracy", "reward/accuracy"),
    "sft": ("sft/loss", "sft/heldout_loss"),
}
_LEFT_OUT = ("reward/progress", "ppo/progress", "sft/progress")
_MAX_OTHERS = 40


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Name and drawing of each; `reward_against_kl` is the round in one picture."""

    reward_against_kl: Plot | None
    first: list[tuple[str, Plot]]
    others: list[tuple[str, Plot]]


def chosen(found: Curves) -> Chosen:
    """What is worth a drawing: metrics with two points or more."""
    first: list[tuple[str, Plot]] = []
    others: list[tuple[str, Plot]] = []
    for step in ("ppo", "reward", *sorted(set(found) - {"ppo", "reward", "gate"})):
        metrics = found.get(step, {})
        names = [name for name in metrics if len(metrics[name]) > 1 and name not in _LEFT_OUT]
        wanted = [name for name in _FIRST.get(step, ()) if name in names]
        first += _drawn(metrics, wanted)
        others += _drawn(metrics, [name for name in names if name not in wanted])
    return Chosen(
        reward_against_kl=reward_against_kl(found), first=first, others=others[:_MAX_OTHERS]
    )


def reward_against_kl(found: Curves) -> Plot | None:
    """The reward model's score over the KL it cost, iteration by iteration."""
    metrics = found.get("ppo", {})
    kl = dict(metrics.get("objective/kl", ()))
    points = [
        (kl[iteration], score)
        for iteration, score in metrics.get("objective/scores", ())
        if iteration in kl
    ]
    if len(points) < 2:
        return None
    return against(points, x_name="objective/kl", y_name="objective/scores")


def _drawn(metrics: dict[str, list[tuple[int, float]]], names: list[str]) -> list[tuple[str, Plot]]:
    plots = [(name, curve(name, metrics[name])) for name in names]
    return [(name, plot) for name, plot in plots if plot is not None]
