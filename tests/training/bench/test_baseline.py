"""The straightforward four-model iteration is the reference of the shared, packed, chunked one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.local_sampler import LocalSampler, MakeModel, randomise
from training import reward
from training.bench.baseline import Baseline, batch_of, four_models
from training.config import Readout, load_recipe
from training.data import choose
from training.experience import gather
from training.learner import Learner
from training.models import POLICY, REWARD, VALUE, Models

RECIPE = load_recipe("tiny").ppo.model_copy(
    update={"episodes_per_minibatch": 16, "episodes_per_iteration": 16, "answers_per_prompt": 4}
)
PROMPTS = [(10, 11, 12, 13, 14), (20, 21), (30, 31, 32, 33), (40,)]
EXAMPLES = [tuple(range(start, start + 16)) for start in range(5, 60, 5)]


def gradients_of(model: Models) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": p.grad.clone()
        for name in (POLICY, VALUE)
        for key, p in model.parameters(name).items()
        if p.grad is not None
    }


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_losses_scores_and_gradients_equal_the_straightforward_version(
    make_model: MakeModel, tiny_folder: Path, readout: Readout
) -> None:
    model = make_model(num_adapted_layers=2)
    for seed, name in enumerate((POLICY, VALUE, REWARD)):
        randomise(model, name, seed=seed)
    rollouts = [
        # Answers of unlike lengths: the sampler's are all as long as it was asked.
        LocalSampler(model, seed=length).sample([prompt], answers_per_prompt=4, max_tokens=length)[
            0
        ]
        for length, prompt in enumerate(PROMPTS, start=4)
    ]

    experience = gather(
        model,
        rollouts,
        scorer=lambda packed, trunk: reward.score(model, packed, readout=readout, trunk_BT=trunk),
        recipe=RECIPE,
        seed="s",
    )
    (minibatch,) = experience.minibatches
    examples = choose(EXAMPLES, count=8, seed=0, turn=0)
    learner = Learner(model, RECIPE, pretraining=EXAMPLES, seed=0)
    ours = learner.gradients(minibatch, examples=examples)
    our_gradients = gradients_of(model)

    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    models = four_models(base, recipe=model.recipe, like=model)
    plain = Baseline(models, RECIPE, readout=readout)
    scored = plain.score(batch_of(rollouts, device=model.device))
    ((advantages_BR, returns_BR),) = plain.targets([scored])
    theirs = plain.gradients(
        scored, advantages_BR=advantages_BR, returns_BR=returns_BR, examples=examples
    )

    torch.testing.assert_close(
        experience.joined("scores_E").sort().values, scored.scores_B.sort().values
    )
    for name, loss in theirs.items():
        assert ours[name] == pytest.approx(loss, rel=1e-4, abs=1e-6), name
    their_gradients = {
        f"{name}/{key}": p.grad
        for name, weights in models.trained().items()
        for key, p in weights.items()
    }
    assert our_gradients.keys() == their_gradients.keys()
    assert min(gradient.abs().max() for gradient in our_gradients.values()) > 0
    torch.testing.assert_close(our_gradients, their_gradients, atol=2e-6, rtol=1e-3)
