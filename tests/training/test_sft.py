from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.local_sampler import LocalSampler, MakeModel, randomise
from training import model_folder, selection, sft
from training.batches import Group, rows
from training.config import load_recipe
from training.models import POLICY

RECIPE = load_recipe("tiny").sft


def demonstrations(num: int, *, seed: int = 0) -> list[Group]:
    """Prompts and answers of many lengths; an answer is one token again and again."""
    rng = random.Random(seed)
    found = []
    for _ in range(num):
        prompt = tuple(rng.randrange(10, 90) for _ in range(rng.randrange(2, 9)))
        answer = (50,) * rng.randrange(1, 7)
        found.append(Group(prompt_ids=prompt, answers=((*answer, 2),)))
    return found


def trainer(make_model: MakeModel, *, seed: int = 0, **changes: object) -> sft.SFTTrainer:
    pretraining = [tuple(range(10, 26)), tuple(range(30, 46))]
    return sft.SFTTrainer(
        make_model(seed=seed),
        RECIPE.model_copy(update=changes),
        demonstrations(20),
        pretraining=pretraining if changes.get("pretraining_share") else [],
        seed=0,
    )


def test_it_learns_to_answer_as_demonstrated(make_model: MakeModel) -> None:
    one = trainer(make_model, epochs=10)
    heldout = demonstrations(16, seed=1)
    before = sft.mean_loss(one.model, heldout)
    while one.step < one.num_steps:
        one.update()
    assert sft.mean_loss(one.model, heldout) < before - 0.3  # its logits reach no further


def test_the_loss_is_the_mean_over_all_response_tokens_whatever_the_passes(
    make_model: MakeModel,
) -> None:
    batch = demonstrations(8)
    whole, cut = make_model(), make_model(tokens_per_pass=16)
    gradients = []
    for model in (whole, cut):
        randomise(model, POLICY)
        one = sft.SFTTrainer(model, RECIPE, batch, pretraining=[], seed=0)
        metrics = one.gradients(batch, examples=[])
        gradients.append({name: p.grad for name, p in model.parameters(POLICY).items()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)

    total, num_tokens = 0.0, 0
    for group in batch:
        (answer,) = group.answers
        layout = rows([(*group.prompt_ids, *answer)])
        hidden_BTD = whole.top(whole.trunk(layout), layout, name=POLICY)
        logits_TV = hidden_BTD[0].float() @ whole.unembedding_VD.float().T
        start = len(group.prompt_ids) - 1
        logprobs_TV = logits_TV.log_softmax(1)[start : start + len(answer)]
        total -= sum(logprobs_TV[i, token].item() for i, token in enumerate(answer))
        num_tokens += len(answer)
    assert metrics["sft/loss"] == pytest.approx(total / num_tokens, rel=1e-4)


def test_pretraining_text_has_its_share_of_the_loss(make_model: MakeModel) -> None:
    batch, examples = demonstrations(6), [tuple(range(10, 26)), tuple(range(30, 46))]

    def gradients(share: float, examples: list[tuple[int, ...]]) -> dict[str, torch.Tensor | None]:
        model = make_model()
        randomise(model, POLICY)
        recipe = RECIPE.model_copy(update={"pretraining_share": share})
        one = sft.SFTTrainer(model, recipe, batch, pretraining=examples, seed=0)
        one.gradients(batch, examples=examples)
        return {name: p.grad for name, p in model.parameters(POLICY).items()}

    none, quarter, half = (gradients(share, examples) for share in (1e-9, 0.25, 0.5))
    for name, alone in none.items():
        assert alone is not None
        slope = (half[name] - alone) / 0.5
        torch.testing.assert_close(quarter[name], alone + 0.25 * slope, rtol=1e-3, atol=1e-6)
        assert not torch.allclose(half[name], alone, rtol=0.05)


def test_a_batch_has_its_share_of_pretraining_examples(make_model: MakeModel) -> None:
    one = trainer(make_model, pretraining_share=0.25, examples_per_step=8, epochs=3)
    assert one.num_steps == 10  # six demonstrations a step, twenty three times over
    assert "ptx/loss" in one.update()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_resumed_trainer_makes_the_step_it_would_have_made(
    make_model: MakeModel, tmp_path: Path, share: float
) -> None:
    first = trainer(make_model, pretraining_share=share)
    for _ in range(3):
        first.update()
    first.save(tmp_path, facts={"scores": [0.5]})
    uninterrupted = first.update()
    second = trainer(make_model, seed=9, pretraining_share=share)
    assert second.resume(tmp_path) == {"scores": [0.5]}
    resumed = second.update()
    assert resumed["sft/loss"] == uninterrupted["sft/loss"]
    torch.testing.assert_close(
        second.model.state(POLICY), first.model.state(POLICY), rtol=0, atol=0
    )


def test_the_rate_falls_along_a_cosine_from_the_first_step(make_model: MakeModel) -> None:
    one = trainer(make_model, epochs=4)
    rates = [one.update()["sft/lr"] for _ in range(one.num_steps)]
    assert rates[0] == RECIPE.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert RECIPE.final_lr_fraction < rates[-1] / rates[0] < RECIPE.final_lr_fraction + 0.2


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1], 1), ([0.1, 0.4, 0.3], 2), ([0.4, 0.1, 0.4], 1)]
)
def test_the_epoch_with_the_highest_score_is_chosen(scores: list[float], best: int) -> None:
    assert sft.best_epoch(scores) == best


def test_an_epoch_is_judged_by_answers_of_the_policy_as_it_is(make_model: MakeModel) -> None:
    sampler = LocalSampler(make_model())
    judge = selection.judge_by(
        sampler,
        score=lambda groups: [[float(len(group.prompt_ids))] for group in groups],
        prompts=[(9, 9), (9, 9, 9, 9)],
        max_tokens=3,
    )
    assert judge(2) == 3.0
    assert sampler.refreshed == [2]


def test_a_merged_adapter_answers_as_the_adapter_did(
    make_model: MakeModel, tiny_folder: Path, tmp_path: Path
) -> None:
    model = make_model()
    randomise(model, POLICY)
    model.save(POLICY, tmp_path / "adapter")
    model_folder.write(tmp_path / "adapter", tmp_path / "model", base_model=tiny_folder)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert merged.dtype == AutoModelForCausalLM.from_pretrained(tiny_folder).dtype
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template
    layout = rows([range(5, 25)])
    with torch.no_grad():
        hidden_BTD = model.top(model.trunk(layout), layout, name=POLICY)
        wanted = hidden_BTD.float() @ model.unembedding_VD.float().T
        found = merged.float()(input_ids=layout.ids_BT).logits
        base = AutoModelForCausalLM.from_pretrained(tiny_folder).float()(layout.ids_BT).logits
    gap = (found - wanted).abs().max().item()
    assert gap < 0.1 * (base - wanted).abs().max().item()  # the rest is bfloat16's rounding
