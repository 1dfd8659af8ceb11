from __future__ import annotations

import pytest
import torch

from tests.training.local_sampler import LocalSampler, MakeModel, randomise
from training.batches import Packed
from training.config import PPORecipe, load_recipe
from training.experience import Experience, gather
from training.learner import Learner, RatioError, learning_rates, pretraining_losses
from training.models import POLICY, Models

RECIPE = load_recipe("tiny").ppo
PROMPTS = [(10, 11, 12), (20, 21), (30, 31, 32, 33), (40,)] * 2
PRETRAINING = [tuple(range(start, start + 16)) for start in range(5, 60, 5)]


def length_of_first_token(packed: Packed, trunk_BT: torch.Tensor) -> torch.Tensor:
    """A reward with a spread: it looks at the answers' token ids."""
    firsts = packed.targets_N[packed.lengths_E.cumsum(0) - packed.lengths_E]
    return firsts.float() / 100


def experience_of(model: Models, recipe: PPORecipe = RECIPE) -> Experience:
    rollouts = LocalSampler(model).sample(PROMPTS, answers_per_prompt=2, max_tokens=6)
    return gather(model, rollouts, scorer=length_of_first_token, recipe=recipe, seed="s")


def learner_of(model: Models, **changes: object) -> Learner:
    recipe = RECIPE.model_copy(update=changes)
    return Learner(model, recipe, pretraining=PRETRAINING, seed=0)


def gradients(model: Models) -> dict[str, torch.Tensor]:
    found = {k: p.grad.clone() for k, p in model.parameters(POLICY).items() if p.grad is not None}
    for parameter in model.parameters(POLICY).values():
        parameter.grad = None
    return found


def test_the_buffers_hold_the_sum_of_rl_and_pretraining_gradients(make_model: MakeModel) -> None:
    model = make_model()
    randomise(model, POLICY)
    minibatch = experience_of(model).minibatches[0]
    examples = PRETRAINING[:4]
    learner = learner_of(model, ptx_coef=2.5)
    learner.gradients(minibatch, examples=examples)
    both = gradients(model)
    learner.gradients(minibatch, examples=[])
    rl = gradients(model)
    num_tokens = sum(len(example) - 1 for example in examples)
    for loss in pretraining_losses(model, examples, name=POLICY):
        (2.5 * loss / num_tokens).backward()
    ptx = gradients(model)
    assert min(g.abs().max() for g in (*rl.values(), *ptx.values())) > 0
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, rl[name] + ptx[name], atol=1e-6, rtol=1e-4)


def test_a_minibatch_has_the_same_gradient_however_it_is_cut_into_passes(
    make_model: MakeModel,
) -> None:
    found = []
    for tokens_per_pass in (1024, 30):
        model = make_model(tokens_per_pass=tokens_per_pass)
        randomise(model, POLICY)
        minibatch = experience_of(model).minibatches[0]
        found.append(len(minibatch))
        learner_of(model).gradients(minibatch, examples=PRETRAINING[:3])
        found.append(gradients(model))
    assert found[0] == 1
    assert found[2] > 1
    torch.testing.assert_close(found[1], found[3], atol=1e-6, rtol=1e-3)


def test_the_first_minibatch_of_a_batch_has_ratio_one(make_model: MakeModel) -> None:
    model = make_model()
    randomise(model, POLICY)
    metrics = learner_of(model, episodes_per_minibatch=16).update(
        experience_of(model, RECIPE.model_copy(update={"episodes_per_minibatch": 16})), iteration=0
    )
    assert metrics["ppo/policy/ratio"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["ppo/policy/approxkl"] == pytest.approx(0.0, abs=1e-10)
    assert metrics["ppo/policy/clipfrac"] == 0


def test_weights_that_changed_between_scoring_and_training_stop_the_run(
    make_model: MakeModel,
) -> None:
    model = make_model()
    experience = experience_of(model)
    randomise(model, POLICY)
    with pytest.raises(RatioError, match="off-policy"):
        learner_of(model).update(experience, iteration=0)


def test_an_update_moves_the_policy_and_the_value_model_only(make_model: MakeModel) -> None:
    model = make_model()
    before = {name: model.state(name) for name in ("policy", "value", "reward")}
    learner_of(model).update(experience_of(model), iteration=5)
    changed = {
        name: any(not torch.equal(before[name][k], v) for k, v in model.state(name).items())
        for name in before
    }
    assert changed == {"policy": True, "value": True, "reward": False}


def test_a_moving_average_lags_behind_the_policy_by_its_decay(make_model: MakeModel) -> None:
    model = make_model()
    start = model.state(POLICY)
    learner = learner_of(model, ema_decay=0.9, episodes_per_minibatch=16)
    recipe = RECIPE.model_copy(update={"episodes_per_minibatch": 16})
    learner.update(experience_of(model, recipe), iteration=5)
    for name, weight in model.state(POLICY).items():
        torch.testing.assert_close(learner.candidate[name], 0.9 * start[name] + 0.1 * weight)


def test_warm_up_goes_from_its_start_to_the_full_rate() -> None:
    recipe = RECIPE.model_copy(
        update={"warmup_iterations": 10, "warmup_start": 0.1, "learning_rate": 1.0}
    )
    rates = [learning_rates(recipe, iteration=i)[0] for i in (0, 5, 10, 400)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 1.0])
