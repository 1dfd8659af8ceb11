from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import Group
from training.manner import describe, is_refusal, repetition
from training.rollouts import Rollout


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot do this.",
        " As an AI language model, I have no opinion.",
        "Sorry, no.",
        "I am unable to answer",
    ],
)
def test_refusals_are_told_by_how_they_begin(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Sure! I can help.",
        "I cancelled the order.",
        "Say: I'm sorry I am late.",
        "",
        "I will do it.",
    ],
)
def test_other_answers_are_none(text: str) -> None:
    assert not is_refusal(text)


def test_an_answer_that_goes_round_repeats_itself() -> None:
    assert repetition([1, 2, 3, 4, 5]) == 0.0
    assert repetition([1, 2, 3] * 10) == pytest.approx(1 - 3 / 28)
    assert repetition([1, 2]) == 0.0


@given(st.lists(st.integers(0, 5), max_size=40))
def test_repetition_is_a_share(tokens: list[int]) -> None:
    assert 0.0 <= repetition(tokens) < 1.0


def test_the_manner_of_two_answers_worked_out_by_hand() -> None:
    rollout = Rollout(
        group=Group(prompt_ids=(1,), answers=((1, 2, 3, 1, 2, 3), (4,))),
        logprobs=((-1.0,) * 6, (-8.0,)),
        ended=(True, True),
        texts=("I'm sorry.", "Yes."),
        version="v",
    )
    found = describe([rollout])
    assert found.refusals == 0.5
    assert found.repetition == pytest.approx((1 - 3 / 4) / 2)
    assert found.entropy_nats == pytest.approx(2.0)
    assert math.isnan(describe([]).refusals)
