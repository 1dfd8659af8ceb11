from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from tests.training.local_sampler import MakeModel, randomise
from training.batches import Group, pack, rows
from training.config import load_recipe
from training.experience import response_logprobs
from training.models import POLICY, REFERENCE, REWARD, VALUE
from training.shared import SharedModel

PROMPT = tuple(range(10, 17))
ANSWERS = (tuple(range(20, 26)), tuple(range(40, 43)), tuple(range(60, 69)))


def test_trunk_and_top_make_the_whole_model(make_model: MakeModel, tiny_folder: Path) -> None:
    model = make_model()
    assert model.shares_trunk
    whole = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    layout = rows([PROMPT, PROMPT[::-1]])
    hidden = model.top(model.trunk(layout), layout, name=REFERENCE)
    logits = hidden @ model.unembedding_VD.T
    torch.testing.assert_close(logits, whole(layout.ids_BT).logits, atol=1e-5, rtol=1e-4)


def test_a_shared_prompt_gives_each_answer_what_it_has_alone(make_model: MakeModel) -> None:
    model = make_model()
    randomise(model, POLICY)
    together = pack([Group(prompt_ids=PROMPT, answers=ANSWERS)])
    alone = pack([Group(prompt_ids=PROMPT, answers=(answer,)) for answer in ANSWERS])
    found, wanted = (
        response_logprobs(model, packed, model.trunk(packed.layout), name=POLICY)
        for packed in (together, alone)
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_each_adapter_is_its_own_model_and_the_reference_is_the_base(
    make_model: MakeModel,
) -> None:
    model = make_model()
    layout = rows([PROMPT])
    trunk = model.trunk(layout)
    before = model.top(trunk, layout, name=REFERENCE)
    torch.testing.assert_close(model.top(trunk, layout, name=POLICY), before)
    randomise(model, POLICY)
    assert (model.top(trunk, layout, name=POLICY) - before).abs().max() > 0.01
    for name in (REFERENCE, VALUE, REWARD):
        torch.testing.assert_close(model.top(trunk, layout, name=name), before)


def test_a_backward_pass_reaches_its_adapter_though_another_ran_since(
    make_model: MakeModel,
) -> None:
    model = make_model()
    randomise(model, POLICY)
    layout = rows([PROMPT])
    trunk = model.trunk(layout)
    hidden = model.top(trunk, layout, name=POLICY)
    model.top(trunk, layout, name=REFERENCE)
    model.top(trunk, layout, name=VALUE)
    hidden.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters(POLICY).values())
    assert all(p.grad is None for p in model.parameters(VALUE).values())


def test_a_saved_adapter_is_a_peft_folder_that_says_the_same(
    make_model: MakeModel, tiny_folder: Path, tmp_path: Path
) -> None:
    model = make_model()
    randomise(model, POLICY)
    model.save(POLICY, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    layout = rows([PROMPT])
    logits = model.top(model.trunk(layout), layout, name=POLICY) @ model.unembedding_VD.T
    torch.testing.assert_close(loaded(layout.ids_BT).logits, logits, atol=1e-5, rtol=1e-4)

    again = make_model(seed=1)
    again.load(POLICY, tmp_path / "adapter")
    torch.testing.assert_close(again.state(POLICY), model.state(POLICY))


def test_weights_of_another_recipe_are_refused(make_model: MakeModel) -> None:
    state = make_model(num_adapted_layers=2).state(POLICY)
    with pytest.raises(ValueError, match="do not fit this recipe"):
        make_model().load_state(POLICY, state)


SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


class ScalesOnEntry(LlamaModel):
    """Like the architectures that scale embeddings in `forward`: two halves would do it twice."""

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **rest: Any) -> Any:
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        return super().forward(inputs_embeds=3 * embeds, **rest)


def without_a_norm_to_cut_at() -> Any:
    return AutoModelForCausalLM.from_config(GPTNeoXConfig(**SIZES, num_attention_heads=2))


def scaling_on_entry() -> Any:
    whole = LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=2))
    whole.model = ScalesOnEntry(whole.config)
    return whole


@pytest.mark.parametrize(
    ("make", "target"),
    [(without_a_norm_to_cut_at, "dense_4h_to_h"), (scaling_on_entry, "down_proj")],
)
def test_an_architecture_that_does_not_split_runs_whole(
    make: Callable[[], Any], target: str
) -> None:
    torch.manual_seed(0)
    whole = make().eval()
    layout = rows([PROMPT])
    wanted = whole(layout.ids_BT).logits
    recipe = load_recipe("tiny").model.model_copy(update={"target_modules": (target,)})
    model = SharedModel(whole, recipe=recipe, adapters=[POLICY], device=torch.device("cpu"), seed=0)
    assert not model.shares_trunk
    hidden = model.top(model.trunk(layout), layout, name=POLICY)
    torch.testing.assert_close(hidden @ model.unembedding_VD.T, wanted)
