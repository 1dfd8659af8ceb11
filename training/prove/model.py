"""Experiment D: the real model through real vLLM, by the whole way that people's answers go.

1. A stack: its own, or one that runs. 2. The demo's people ask and rank; a round trains, is judged, and
goes live under streams; both versions answer prompts that nobody asked before. 3. The reference, many
times, and the candidate answer those prompts again: best of n by the round's reward model, and PPO's
point beside it. 4. Marks (RECIPE.md, section 4 D).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from feedback.errors import HoneError
from feedback.quality.intervals import Estimate
from serving.commands.options import ready
from serving.stack.parts import load_secrets
from training import demo
from training.demo_report import read_metrics
from training.prove import answers
from training.prove.answers import Judged
from training.prove.best_of_n import Point, curve, paired_gain
from training.prove.own_stack import own_stack
from training.prove.report import Mark, Proof, at_least, at_most, below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (1, 2, 4, 8, 16)
NUM_PROMPTS = 48  # of the held-out ones, for best of n
NUM_REFERENCE_ANSWERS = 32  # to each: the best of 16 is a mean over many subsets of them
NUM_CANDIDATE_ANSWERS = 8
_SEED = 20_000  # of step 3: other answers than those whose gold the demo compared


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asked for on the command line."""

    data_dir: Path | None  # of a stack that runs; None: one is started and ended
    num_sets: int
    num_heldout: int
    seed: int
    out: Path | None  # folder of the pictures and of the demo's own report


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Gold for KL: what choosing gives, and what PPO gives, on the same prompts."""

    best_of_n: Mapping[int, Point]
    ppo: Point
    ppo_kl: Estimate


def prove(wish: Wish, *, console: Console) -> tuple[Proof, Frontier]:
    """The proof and what is drawn of it. `console` shows how far it is."""
    stack = own_stack() if wish.data_dir is None else nullcontext(wish.data_dir)
    with stack as data_dir:
        options = demo.Options(
            data_dir=data_dir,
            num_sets=wish.num_sets,
            num_heldout=wish.num_heldout,
            seed=wish.seed,
            out=wish.out or data_dir / "demo",
        )
        story = demo.run(ready(data_dir), options, console=console)
        if story.status not in ("finished", "refused"):
            raise HoneError(f"the round ended as {story.status}: {story.figures['swap']['detail']}")
        round_dir = data_dir / "rounds" / story.figures["round"]
        heldout, _ = demo.split_prompts(options)
        console.print("best of n …")
        reference, candidate, kl = answers.measure(
            round_dir,
            heldout[:NUM_PROMPTS],
            engine_token=load_secrets(data_dir / "secrets.json").engine_token,
            num_reference=NUM_REFERENCE_ANSWERS,
            num_candidate=NUM_CANDIDATE_ANSWERS,
            seed=_SEED + wish.seed,
        )
        more = {
            "heldout_prompts_in_the_snapshot": len(
                set(heldout) & prompts_of(round_dir / "snapshot")
            ),
            "ppo": ppo_figures(read_metrics(round_dir / "metrics.jsonl")),
        }
    frontier = compare(reference, candidate, kl)
    figures = _figures(story, frontier) | more
    proof = Proof(
        experiment="D, the real model",
        seed=wish.seed,
        figures=figures,
        marks=marks(story, frontier),
    )
    return proof, frontier


def compare(
    reference: Judged, candidate: Judged, kl: Estimate, *, sizes: Sequence[int] = SIZES
) -> Frontier:
    """Gains over one answer of the reference, on the same prompts."""
    means = [[float(np.mean(row)) for row in one.gold] for one in (reference, candidate)]
    gain, error = paired_gain(*means)
    ppo = Point(
        kl_nats=kl.value,
        gold=float(np.mean(means[1])),
        gain=gain,
        standard_error=error,
        score=float(np.mean([np.mean(row) for row in candidate.scores])),
    )
    best = curve(reference.scores, reference.gold, sizes=sizes)
    return Frontier(best_of_n=best, ppo=ppo, ppo_kl=kl)


def marks(story: demo.Story, frontier: Frontier) -> list[Mark]:
    """A round that the gate refused has no gain and no swap: those marks fail."""
    swap = story.figures["swap"]
    is_live = story.status == "finished" and story.new != story.old
    gain = story.figures.get("gold", {}).get("standard_errors_above_zero", math.nan)
    checks = {check["name"]: check["value"] for check in story.figures["gate"].get("checks", [])}
    wrong = swap["wrong_version"] + swap["header_disagreed_with_policy"]
    return [
        at_least("gold gain, standard errors", gain, 3.0),
        below("KL, nats per answer, upper end of its interval", frontier.ppo_kl.high, 10.0),
        at_most("perplexity ratio", checks.get("perplexity_ratio", math.nan), 1.02),
        at_most("streams dropped or broken by the swap", swap["dropped"], 0),
        at_most("streams of a wrong version", wrong, 0),
        at_least("streams of the new version", swap["by_new_version"] if is_live else 0, 1),
    ]


def prompts_of(snapshot: Path) -> set[str]:
    """The question of every prompt that a round trains on, or is judged on."""
    return {
        json.loads(line)["prompt_text"]
        for name in ("prompts.jsonl", "rankings.jsonl")
        for line in (snapshot / name).read_bytes().splitlines()
    }


def ppo_figures(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the round's curve. A first minibatch off-policy would have stopped it (learner.py)."""
    rows = [row for row in metrics if row["step"] == "ppo"]
    gaps = [row["ppo/sampler_gap_nats"] for row in rows]
    return {
        "iterations": len(rows),
        "score_first": rows[0]["objective/scores"],
        "score_last": rows[-1]["objective/scores"],
        "kl_nats_last": rows[-1]["objective/kl"],
        "trainer_from_vllm_rms_nats": max(gaps),
        "seconds_an_iteration": float(np.mean([_seconds(row) for row in rows])),
    }


def draw(frontier: Frontier, axes: Axes) -> None:
    """Gold gain against KL, best of n beside PPO."""
    best = frontier.best_of_n.values()
    axes.errorbar(
        [point.kl_nats for point in best],
        [point.gain for point in best],
        yerr=[1.96 * point.standard_error for point in best],
        marker="o",
        capsize=3,
        label="best of n by the reward model (KL: its bound)",
    )
    for n, point in frontier.best_of_n.items():
        axes.annotate(f"n = {n}", (point.kl_nats, point.gain), (5, -12), textcoords="offset points")
    ppo, kl = frontier.ppo, frontier.ppo_kl
    axes.errorbar(
        [ppo.kl_nats],
        [ppo.gain],
        xerr=[[kl.value - kl.low], [kl.high - kl.value]],
        yerr=[1.96 * ppo.standard_error],
        marker="s",
        capsize=3,
        label="PPO-ptx",
    )
    axes.set(
        xlabel="KL from the reference, nats per answer",
        ylabel="gold gain over one answer of the reference",
        title="What the same reward model buys, on held-out prompts (95 %)",
    )
    axes.legend()


def _figures(story: demo.Story, frontier: Frontier) -> dict[str, Any]:
    """Numbers and tables. Single answers and the curves of training are in demo.json."""
    gold = story.figures.get("gold", {})
    swap = {k: v for k, v in story.figures["swap"].items() if k not in ("detail", "errors")}
    rows = [{"policy": f"best of {n}", **asdict(p)} for n, p in frontier.best_of_n.items()]
    return {
        "preference": story.preference,
        "status": story.status,
        "rankings": story.figures["rankings"],
        "seconds": {name: round(seconds) for name, seconds in story.seconds.items()},
        "gold": {k: v for k, v in gold.items() if not k.endswith("_scores")},
        "swap": swap,
        "gate": [
            {"check": c["name"], "value": c["value"], "limit": c["limit"], "passed": c["passed"]}
            for c in story.figures["gate"].get("checks", [])
        ],
        "gold_for_kl": [*rows, {"policy": "PPO-ptx", **asdict(frontier.ppo)}],
        "ppo_kl_nats": asdict(frontier.ppo_kl),
    }


def _seconds(row: Mapping[str, Any]) -> float:
    return sum(row[f"time/{part}_s"] for part in ("rollout", "score", "train"))
