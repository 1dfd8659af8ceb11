from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.evaluation import policies
from training.evaluation.choices import Choices


def test_likelihoods_are_those_of_transformers(tiny_folder: Path) -> None:
    """Prompts of other lengths in one pass, whole texts too."""
    items = [
        Choices(prompt="Q: who?\nA:", texts=(" me", " you two")),
        Choices(prompt="", texts=("He ran.", "She ran.")),
        Choices(prompt="A longer question, which is asked here", texts=(" yes",)),
    ]
    scorer = policies.open_scorer(policies.of_folder(tiny_folder))
    found = [[one.nats for one in likelihoods] for likelihoods in scorer(items)]
    wanted = [
        [_nats(tiny_folder, item.prompt or "\n", text) for text in item.texts] for item in items
    ]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=0.01)  # bfloat16


def test_the_prefix_stands_before_prompts_and_not_before_whole_texts(tiny_folder: Path) -> None:
    policy = policies.of_folder(tiny_folder)
    plain, prefixed = (policies.open_scorer(policy, prefix=prefix) for prefix in ("", "Be kind. "))
    items = [Choices(prompt="Q", texts=(" a",)), Choices(prompt="", texts=("a",))]
    ((one,), (whole,)), ((other,), (same,)) = plain(items), prefixed(items)
    assert one.nats != other.nats
    assert whole == same


def test_the_loss_on_text_is_per_token_and_the_first_is_given(tiny_folder: Path) -> None:
    (loss,) = policies.open_scorer(policies.of_folder(tiny_folder)).nats_per_token([(5, 6, 7, 8)])
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert loss == pytest.approx(model(ids, labels=ids).loss.item(), rel=0.01)


def _nats(folder: Path, prompt: str, text: str) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    before, after = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text)
    )
    with torch.no_grad():
        logits_TV = model(torch.tensor([before + after])).logits[0].float().log_softmax(-1)
    places = range(len(before) - 1, len(before) + len(after) - 1)
    return sum(logits_TV[place, token].item() for place, token in zip(places, after, strict=True))
