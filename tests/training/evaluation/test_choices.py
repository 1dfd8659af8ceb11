from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.choices import Likelihood, entropy_bits, probabilities

nats = st.floats(min_value=-500, max_value=0)
calm = settings(deadline=None)  # a busy machine is no failure


@calm
@given(nats)
def test_two_equal_choices_are_one_bit(each: float) -> None:
    assert entropy_bits([each, each]) == pytest.approx(1)


@calm
@given(nats, st.integers(min_value=2, max_value=9))
def test_n_equal_choices_are_log2_of_n_bits(each: float, count: int) -> None:
    assert entropy_bits([each] * count) == pytest.approx(math.log2(count))


def test_certainty_has_no_entropy() -> None:
    assert entropy_bits([-1.0, -2000.0]) == 0


@calm
@given(st.lists(nats, min_size=2, max_size=9))
def test_entropy_lies_between_certainty_and_all_equal(found: list[float]) -> None:
    assert -1e-12 <= entropy_bits(found) <= math.log2(len(found)) + 1e-9


@calm
@given(st.lists(nats, min_size=2, max_size=9), st.floats(min_value=-1000, max_value=1000))
def test_only_differences_of_log_probabilities_count(found: list[float], shift: float) -> None:
    assert entropy_bits([each + shift for each in found]) == pytest.approx(
        entropy_bits(found), abs=1e-6
    )


def test_entropy_of_three_to_one_by_hand() -> None:
    assert entropy_bits([math.log(0.75), math.log(0.25)]) == pytest.approx(0.811278, abs=1e-6)


@calm
@given(st.lists(nats, min_size=1, max_size=9))
def test_probabilities_sum_to_one(found: list[float]) -> None:
    assert sum(probabilities(found)) == pytest.approx(1)


def test_a_long_text_is_not_less_likely_per_token() -> None:
    assert Likelihood(nats=-6, num_tokens=3).nats_per_token == -2
