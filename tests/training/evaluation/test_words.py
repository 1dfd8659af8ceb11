from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.words import rouge_1, rouge_l, words

calm = settings(deadline=None)
texts = st.lists(st.sampled_from("abc"), max_size=8).map(" ".join)


def test_words_are_lower_case_and_bare() -> None:
    assert words("The cat's OUT, isn't it?") == ["the", "cat", "s", "out", "isn", "t", "it"]


def test_rouge_1_by_hand() -> None:
    assert rouge_1("the cat sat", "the cat sat down") == pytest.approx(2 * 3 / 7)
    assert rouge_1("the the", "the") == pytest.approx(2 / 3)
    assert rouge_1("a", "b") == 0
    assert rouge_1("", "") == 0


def test_rouge_l_heeds_the_order_and_rouge_1_does_not() -> None:
    assert rouge_1("a b c d", "d c b a") == 1
    assert rouge_l("a b c d", "d c b a") == pytest.approx(0.25)
    assert rouge_l("the cat sat", "the big cat sat") == pytest.approx(2 * 3 / 7)


@calm
@given(texts, texts)
def test_both_are_symmetric_and_the_order_never_helps(one: str, other: str) -> None:
    assert rouge_l(one, other) == rouge_l(other, one)
    assert 0 <= rouge_l(one, other) <= rouge_1(one, other) <= 1


@calm
@given(texts.filter(bool))
def test_a_text_is_like_itself(text: str) -> None:
    assert rouge_1(text, text) == rouge_l(text, text) == 1
