"""The real PPO update against the analytic optimum of an enumerable world (RECIPE.md, section 4A, small)."""

from __future__ import annotations

import pytest

from training.prove import exact, mutants, runs
from training.prove.exact import Found
from training.prove.runs import Problem


def trained(problem: Problem, *, iterations: int, mutant: str = "none") -> Found:
    planted = next(m for m in (mutants.NONE, *mutants.MUTANTS) if m.name == mutant)
    recipe = runs.recipe(beta=exact.BETA).model_copy(update={"iterations": iterations})
    run = runs.train(problem, recipe, mutant=planted)
    return exact.measure(run, problem=problem, beta=exact.BETA)
