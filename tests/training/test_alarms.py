"""Bad days of PPO: each stops the run with its cure, and leaves the last good checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.local_sampler import LocalSampler, MakeModel, randomise
from tests.training.test_trainer import RECIPE, share_of_even_tokens, train, trainer_of
from training import checkpoint
from training.alarms import (
    EngineGapError,
    KLError,
    NotFiniteError,
    check_experience,
    check_gap,
    check_kl,
    check_metrics,
)
from training.batches import Packed
from training.experience import Experience, Pass, gather
from training.models import POLICY, VALUE, Models
from training.rollouts import Rollout

Scorer = Callable[[Packed, torch.Tensor], torch.Tensor]


def nan_from_iteration(number: int) -> Scorer:
    """A reward model that breaks in the midst of a run. Two minibatches make an iteration."""
    calls = iter(range(1000))

    def score(packed: Packed, trunk_BT: torch.Tensor) -> torch.Tensor:
        scores = share_of_even_tokens(packed, trunk_BT)
        if next(calls) >= 2 * number:
            scores[0] = math.nan
        return scores

    return score


def test_a_score_that_is_no_number_stops_the_run_and_the_last_good_iteration_stays(
    make_model: MakeModel, tmp_path: Path
) -> None:
    trainer = trainer_of(make_model())
    trainer.scorer = nan_from_iteration(1)
    with pytest.raises(NotFiniteError, match=r"iteration 1: .* of 16 .*\[reward\] learning_rate"):
        train(trainer, tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.number == 1
    assert all(tensor.isfinite().all() for tensor in found.tensors.values())
    assert len(train(trainer_of(make_model()), tmp_path).read()) == RECIPE.ppo.iterations


@pytest.mark.parametrize(
    ("name", "cure"), [(POLICY, r"\[ppo\] learning_rate"), (VALUE, "value_learning_rate")]
)
def test_weights_that_are_no_numbers_stop_the_run_before_they_train_anything(
    make_model: MakeModel, name: str, cure: str
) -> None:
    model = make_model()
    rollouts = LocalSampler(model).sample([(10, 11)], answers_per_prompt=16, max_tokens=4)
    with torch.no_grad():
        next(iter(model.parameters(name).values())).fill_(math.nan)
    with pytest.raises(NotFiniteError, match=cure):
        check_experience(gathered(model, rollouts), iteration=0)


def test_an_update_that_ends_in_nan_is_never_saved(make_model: MakeModel, tmp_path: Path) -> None:
    recipe = RECIPE.ppo.model_copy(update={"learning_rate": math.inf, "warmup_iterations": 0})
    with pytest.raises(NotFiniteError, match="iteration 0"):
        train(trainer_of(make_model(), recipe=recipe), tmp_path)
    assert checkpoint.latest(tmp_path) is None


def test_an_exploding_kl_stops_the_run_with_the_iteration_and_what_to_change(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    randomise(model, POLICY)
    recipe = RECIPE.ppo.model_copy(update={"max_kl_nats": 0.01})
    with pytest.raises(
        KLError, match=r"iteration 0: .* nats per answer.*max_kl_nats = 0.01.*kl_coef"
    ):
        train(trainer_of(model, recipe=recipe), tmp_path)
    assert len(train(trainer_of(model), tmp_path).read()) == RECIPE.ppo.iterations


def test_a_kl_below_zero_beyond_its_error_is_broken_sampling(make_model: MakeModel) -> None:
    model = make_model()
    randomise(model, POLICY)
    experience = experience_of(model)
    check_kl(experience, iteration=3, max_kl_nats=100)  # sampled from the policy: not negative
    swapped = with_each_pass(
        experience,
        lambda one: replace(
            one,
            logprobs_N=one.ref_logprobs_N - 0.5,
            engine_logprobs_N=one.ref_logprobs_N - 0.5,
        ),
    )
    with pytest.raises(KLError, match="iteration 3: .* never negative"):
        check_kl(swapped, iteration=3, max_kl_nats=100)


def test_a_kl_of_zero_with_its_rounding_is_none(make_model: MakeModel) -> None:
    experience = with_each_pass(
        experience_of(make_model()), lambda one: replace(one, logprobs_N=one.logprobs_N - 1e-4)
    )
    check_kl(experience, iteration=0, max_kl_nats=1)


def test_a_gap_that_is_no_number_is_over_the_limit() -> None:
    check_gap(0.1, limit_nats=0.1, iteration=0)
    with pytest.raises(EngineGapError, match="GET /policy"):
        check_gap(math.nan, limit_nats=math.inf, iteration=0)


def test_the_metrics_that_are_no_numbers_are_named() -> None:
    with pytest.raises(NotFiniteError, match=r"iteration 2: a, c not finite"):
        check_metrics({"a": math.nan, "b": 1.0, "c": math.inf}, iteration=2)


def experience_of(model: Models) -> Experience:
    sampler = LocalSampler(model)
    rollouts = sampler.sample([(10, 11), (12, 13)], answers_per_prompt=8, max_tokens=4)
    return gathered(model, rollouts)


def gathered(model: Models, rollouts: list[Rollout]) -> Experience:
    return gather(model, rollouts, scorer=share_of_even_tokens, recipe=RECIPE.ppo, seed="s")


def with_each_pass(experience: Experience, change: Callable[[Pass], Pass]) -> Experience:
    return Experience(
        minibatches=[[change(one) for one in each] for each in experience.minibatches]
    )
