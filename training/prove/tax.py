"""Experiment C: what PPO forgets, and whether ptx or a stronger KL repairs it (RECIPE.md, section 4C).

The tax is the exact KL(language || policy) per token on documents, which no prompt of PPO opens; the
base knows them from its pretraining.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import PPORecipe
from training.models import POLICY, REFERENCE, Models
from training.prove import language, plotting, runs, world
from training.prove.report import Mark, Proof, at_least, at_most, below
from training.prove.runs import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BETA, GAMMA = 0.1, 1.0
BETAS = (0.3, 1.0, 3.0, 10.0)  # at gamma 0: up to 100 times BETA, as in the paper
GAMMAS = (0.0, 0.1, GAMMA)  # at BETA
MAX_TAX_TO_REFERENCE = 2.0
MIN_GAIN_SHARE = 0.95
MAX_BETA_GAIN_SHARE = 0.5
_ITERATIONS = 50
_NUM_DOCUMENTS = 65_536
_EXAMPLES_PER_EPISODE = 8.0  # the paper's


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a setting gained, and what it forgot."""

    beta: float
    gamma: float
    gain: float  # mean gold above the reference's
    tax: float  # nats per token
    kl: float  # policy to reference on the prompts, nats per answer
    seconds: float


def prove(*, seed: int, plot: Path | None) -> Proof:
    problem = runs.pose(seed=seed)
    reference = tax_of(world.adapted(problem.base, seed=seed), name=REFERENCE, seed=seed)
    settings = [(BETA, gamma) for gamma in GAMMAS] + [(beta, 0.0) for beta in BETAS]
    prices = [pay(problem, recipe(beta=beta, gamma=gamma)) for beta, gamma in settings]
    if plot is not None:
        plotting.save(plot / f"tax-{seed}.png", lambda axes: _draw(axes, prices, reference))
    return Proof(
        experiment="tax",
        seed=seed,
        figures={"reference_tax": reference, "runs": [asdict(price) for price in prices]},
        marks=judge(prices, reference_tax=reference),
    )


def recipe(*, beta: float, gamma: float) -> PPORecipe:
    return runs.recipe(beta=beta).model_copy(
        update={
            "iterations": _ITERATIONS,
            "ptx_coef": gamma,
            "ptx_examples_per_episode": _EXAMPLES_PER_EPISODE if gamma else 0.0,
        }
    )


def pay(problem: Problem, recipe: PPORecipe) -> Price:
    """Train with a recipe and see what it came to."""
    documents = language.documents(count=_NUM_DOCUMENTS, seed=problem.seed)
    run = runs.train(problem, recipe, pretraining=documents)
    ref_gold = world.mean_gold(run.ref_XY, gold_XY=problem.gold_XY)
    return Price(
        beta=recipe.kl_coef,
        gamma=recipe.ptx_coef,
        gain=world.mean_gold(run.policy_XY, gold_XY=problem.gold_XY) - ref_gold,
        tax=tax_of(run.model, name=POLICY, seed=problem.seed),
        kl=world.kl_nats(run.policy_XY, ref_XY=run.ref_XY),
        seconds=run.seconds,
    )


def tax_of(model: Models, *, name: str, seed: int) -> float:
    """KL(language || model) on documents, nats per token, over all of them there can be."""
    truth_XY = language.chain_logprobs(seed=seed)[len(world.PROMPTS) :]
    found_XY = world.answer_logprobs(model, name=name, openings=world.SUBJECTS)
    return world.kl_nats(truth_XY, ref_XY=found_XY) / world.LENGTH


def judge(prices: Sequence[Price], *, reference_tax: float) -> list[Mark]:
    """The marks of RECIPE.md; `prices` holds (BETA, 0), (BETA, GAMMA) and the sweep over beta."""
    by_setting = {(price.beta, price.gamma): price for price in prices}
    plain, ptx = by_setting[BETA, 0.0], by_setting[BETA, GAMMA]
    limit = MAX_TAX_TO_REFERENCE * reference_tax
    cheap = [price.gain for price in prices if price.gamma == 0 and price.tax <= limit]
    return [
        at_most(f"tax at gamma {GAMMA}", ptx.tax, limit),
        at_least(
            f"gain at gamma {GAMMA} to that at gamma 0", ptx.gain / plain.gain, MIN_GAIN_SHARE
        ),
        below(
            "best gain to that at gamma 0, of all beta with no more tax",
            max(cheap, default=0.0) / plain.gain,
            MAX_BETA_GAIN_SHARE,
        ),
    ]


def _draw(axes: Axes, prices: Sequence[Price], reference_tax: float) -> None:
    gammas = [price for price in prices if price.beta == BETA]
    betas = [price for price in prices if price.gamma == 0]
    axes.axhline(reference_tax, color="0.6", linestyle="--", linewidth=1, label="the reference")
    for sweep, name in ((gammas, "gamma"), (betas, "beta")):
        axes.plot([p.gain for p in sweep], [p.tax for p in sweep], "o-", label=f"{name} sweep")
        for price in sweep:
            text = f"{name} {getattr(price, name):g}"
            axes.annotate(text, (price.gain, price.tax), xytext=(4, 4),
                          textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("gold gained")
    axes.set_ylabel("tax: KL(language || policy), nats per token")
    axes.set_title(
        f"ptx (gamma, at beta {BETA}) against a stronger KL (beta, at gamma 0)", loc="left"
    )
    axes.legend(fontsize=8)
