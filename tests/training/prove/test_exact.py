"""The real PPO update against the analytic optimum of an enumerable world (RECIPE.md, section 4A, small)."""

from __future__ import annotations

from training.prove import exact, language, mutants, runs, world
from training.prove.exact import Found
from training.prove.runs import Problem


def trained(problem: Problem, *, iterations: int, mutant: str = "none") -> Found:
    planted = next(m for m in (mutants.NONE, *mutants.MUTANTS) if m.name == mutant)
    recipe = runs.recipe(beta=exact.BETA).model_copy(
        update={"iterations": iterations, "ema_decay": 0.9}  # of the last steps: few are many here
    )
    run = runs.train(problem, recipe, mutant=planted)
    return exact.measure(run, problem=problem, beta=exact.BETA)


def test_ppo_climbs_toward_the_analytic_optimum_and_reports_its_true_kl(problem: Problem) -> None:
    # All the way takes 150 iterations: `hone prove exact`, figures in training/LOG.md.
    found = trained(problem, iterations=20)
    assert 0.5 < found.share < 1
    assert found.kl_error < 0.10


def test_a_score_on_the_first_token_stays_far_behind(problem: Problem) -> None:
    assert trained(problem, iterations=20, mutant="score on the first token").share < 0.3


def test_a_flipped_sign_ends_below_the_reference(problem: Problem) -> None:
    assert trained(problem, iterations=8, mutant="sign flipped").share < 0


def test_no_policy_has_more_gold_at_its_kl_than_the_frontier(problem: Problem) -> None:
    ref_XY = language.chain_logprobs(seed=0)[: world.NUM_PROMPTS]
    frontier = exact.best_by_beta(problem, ref_XY=ref_XY)
    kls, golds = zip(*frontier, strict=True)
    assert list(kls) == sorted(kls)
    assert list(golds) == sorted(golds)
