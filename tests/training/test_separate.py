from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from serving import artifact
from tests.training.local_sampler import LocalSampler, randomise
from training import models
from training.batches import Group, pack, rows
from training.config import FullRecipe, load_recipe
from training.experience import response_logprobs
from training.learner import Learner, pretraining_losses
from training.models import POLICY, REFERENCE, REWARD, VALUE, Models

GROUP = Group(prompt_ids=(10, 11, 12), answers=((20, 21), (30, 31, 32)))
PRETRAINING = [tuple(range(start, start + 16)) for start in range(5, 60, 5)]


def make(folder: Path, **changes: object) -> Models:
    fields = {
        "weights": "full",
        "dtype": "float32",
        "gradient_checkpointing": False,
        "max_sequence_tokens": 128,
        "tokens_per_pass": 1024,
    }
    return models.load(
        folder,
        recipe=FullRecipe.model_validate(fields | changes),
        names=[POLICY, VALUE, REWARD],
        frozen=[REWARD],
        device=torch.device("cpu"),
        seed=0,
    )


def test_log_probabilities_and_every_gradient_are_those_of_the_plain_model(
    tiny_folder: Path,
) -> None:
    model = make(tiny_folder)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    packed = pack([GROUP])
    found_N = response_logprobs(model, packed, model.trunk(packed.layout), name=POLICY)
    wanted = []
    for answer in GROUP.answers:
        ids = torch.tensor([[*GROUP.prompt_ids, *answer]])
        logprobs_TV = plain(ids).logits[0].log_softmax(1)
        start = len(GROUP.prompt_ids) - 1
        wanted += [logprobs_TV[start + i, token] for i, token in enumerate(answer)]
    torch.testing.assert_close(found_N, torch.stack(wanted), atol=1e-5, rtol=1e-5)
    found_N.square().sum().backward()
    torch.stack(wanted).square().sum().backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    trained = model.parameters(POLICY)
    assert (
        trained.keys() == gradients.keys()
    )  # the embedding is the unembedding: one gradient of both
    for name, parameter in trained.items():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-4)


def test_checkpointing_changes_memory_and_no_gradient(tiny_folder: Path) -> None:
    found = []
    for is_on in (False, True):
        model = make(tiny_folder, gradient_checkpointing=is_on)
        for loss in pretraining_losses(model, PRETRAINING[:2], name=POLICY):
            loss.backward()
        found.append({k: p.grad for k, p in model.parameters(POLICY).items()})
    torch.testing.assert_close(found[0], found[1])


def test_an_update_moves_policy_and_value_and_neither_reference_nor_reward(
    tiny_folder: Path,
) -> None:
    from tests.training.test_learner import PROMPTS, RECIPE, length_of_first_token
    from training.experience import gather

    model = make(tiny_folder)
    before = {name: model.state(name) for name in (POLICY, VALUE, REWARD, REFERENCE)}
    rollouts = LocalSampler(model).sample(PROMPTS, answers_per_prompt=2, max_tokens=6)
    experience = gather(model, rollouts, scorer=length_of_first_token, recipe=RECIPE, seed="s")
    learner = Learner(model, RECIPE, pretraining=PRETRAINING, seed=0)
    metrics = learner.update(experience, iteration=5)
    assert metrics["ppo/ptx_loss"] > 0
    changed = {
        name: any(not torch.equal(before[name][k], v) for k, v in model.state(name).items())
        for name in before
    }
    assert changed == {POLICY: True, VALUE: True, REWARD: False, REFERENCE: False}


def test_a_saved_policy_is_a_model_that_an_engine_may_load_and_says_the_same(
    tiny_folder: Path, tmp_path: Path
) -> None:
    model = make(tiny_folder)
    randomise(model, POLICY)
    folder = tmp_path / "policy-0001"
    model.save(POLICY, folder)
    artifact.write_manifest(
        folder, version="policy-0001", kind="full", parent=None, base_digest="b"
    )
    assert artifact.verify(folder, digest=None, base_model=tiny_folder).kind == "full"
    again = make(tiny_folder)
    again.load(POLICY, folder)
    layout = rows([(*GROUP.prompt_ids, *GROUP.answers[0])])
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    hidden = again.top(again.trunk(layout), layout, name=POLICY)
    wanted = plain.base_model(layout.ids_BT).last_hidden_state
    torch.testing.assert_close(hidden, wanted, atol=1e-5, rtol=1e-5)


def test_weights_of_another_model_are_refused(tiny_folder: Path) -> None:
    model = make(tiny_folder)
    state = model.state(POLICY)
    state.pop(next(iter(state)))
    with pytest.raises(ValueError, match="do not fit"):
        model.load_state(POLICY, state)


def test_recipes_say_which_weights_train() -> None:
    assert load_recipe("tiny").model.weights == "adapter"
