from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from training.batches import Group, pack
from training.bench.floor import Shape, Work, iteration_flops, shape_of, texts_work, work_of
from training.config import AdapterRecipe, load_recipe
from training.experience import response_logprobs, token_values
from training.models import POLICY, VALUE
from training.shared import SharedModel

CPU = torch.device("cpu")
NO_TEXTS = texts_work(0, length=1)


def recipe_with(*target_modules: str) -> AdapterRecipe:
    recipe = load_recipe("tiny").model
    assert isinstance(recipe, AdapterRecipe)
    return recipe.model_copy(update={"num_adapted_layers": 2, "target_modules": target_modules})


def four_layers() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",  # the counter sees its matrix products in both directions
    )
    return LlamaForCausalLM(config)


def full_square(work: Work, length: int) -> Work:
    """What a kernel without knowledge of the mask computes for one row."""
    return Work(tokens=work.tokens, pairs=length * length, predictions=work.predictions)


@pytest.mark.parametrize("targets", [("o_proj", "down_proj"), ("q_proj", "v_proj")])
def test_the_floor_counts_what_a_pass_without_padding_multiplies(targets: tuple[str, ...]) -> None:
    causal_lm, recipe = four_layers(), recipe_with(*targets)
    shape: Shape = shape_of(causal_lm, recipe)
    model = SharedModel(causal_lm, recipe=recipe, adapters=[POLICY, VALUE], device=CPU, seed=0)
    group = Group(prompt_ids=tuple(range(10, 20)), answers=(tuple(range(30, 62)),))
    packed = pack([group])
    wanted = iteration_flops(shape, answers=full_square(work_of([group]), 42), examples=NO_TEXTS)

    with FlopCounterMode(display=False) as trunk_counter:
        trunk = model.trunk(packed.layout)
    with torch.no_grad(), FlopCounterMode(display=False) as score_counter:
        response_logprobs(model, packed, trunk, name=POLICY)
    with FlopCounterMode(display=False) as policy_counter:
        response_logprobs(model, packed, trunk, name=POLICY).sum().backward()
    with FlopCounterMode(display=False) as value_counter:
        token_values(model, packed, trunk).sum().backward()

    assert trunk_counter.get_total_flops() == wanted["trunk"]
    assert score_counter.get_total_flops() == wanted["score/policy"]
    # An adapter's share of the backward pass depends on where it stands; it is small.
    assert policy_counter.get_total_flops() == pytest.approx(wanted["train/policy"], rel=0.02)
    assert value_counter.get_total_flops() == pytest.approx(wanted["train/value"], rel=0.02)


def test_a_shared_prompt_is_counted_once_and_other_answers_are_not_attended_to() -> None:
    group = Group(prompt_ids=(1, 2, 3), answers=((4, 5), (6,)))
    # The prompt's 6 pairs; 2 x 3 + 3 and 1 x 3 + 1 of the answers.
    assert work_of([group]) == Work(tokens=6, pairs=6 + 9 + 4, predictions=3)
    assert texts_work(2, length=4) == Work(tokens=8, pairs=20, predictions=6)
