from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.quality.intervals import Estimate
from training.evaluation import measures
from training.evaluation.measures import MEASURES, difference, estimate, regressions, verdict

calm = settings(deadline=None, max_examples=20)  # each example resamples 2,000 times
values = st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=30)


@calm
@given(values)
def test_no_policy_differs_from_itself(found: list[float]) -> None:
    none = difference(found, found)
    assert (none.value, none.low, none.high) == (0, 0, 0)


@calm
@given(values, st.floats(min_value=0.01, max_value=1))
def test_a_difference_that_all_units_share_is_certain(found: list[float], by: float) -> None:
    shifted = difference([each + by for each in found], found)
    assert shifted.low == pytest.approx(by)
    assert shifted.high == pytest.approx(by)


def test_a_share_of_nothing_but_successes_is_not_certain() -> None:
    sure = estimate("truthfulqa/mc1", [1.0] * 20)
    assert sure.value == 1
    assert sure.low < 0.95


def test_units_that_one_of_them_lacks_are_left_out() -> None:
    found = difference([1.0, math.nan, 3.0], [0.0, 5.0, math.nan])
    assert (found.value, found.num_units) == (1.0, 1)


def test_policies_measured_on_other_units_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        difference([1.0], [1.0, 2.0])


def test_a_regression_is_positive_whichever_way_is_better() -> None:
    ours = {"truthfulqa/mc1": [0.0] * 9, "tax/text": [3.0] * 9}
    theirs = {"truthfulqa/mc1": [1.0] * 9, "tax/text": [2.0] * 9, "bias/winogender": [1.0]}
    found = regressions(ours, theirs)
    assert found.keys() == ours.keys()
    assert found["truthfulqa/mc1"].value == 1
    assert found["tax/text"].low == 1


@pytest.mark.parametrize(
    ("name", "low", "high", "said"),
    [
        ("tax/text", 0.1, 0.3, "worse"),
        ("tax/text", -0.3, -0.1, "better"),
        ("tax/text", -0.1, 0.3, "same"),
        ("truthfulqa/mc1", 0.1, 0.3, "better"),
        ("truthfulqa/mc1", -0.3, -0.1, "worse"),
    ],
)
def test_only_an_interval_without_zero_says_something(
    name: str, low: float, high: float, said: str
) -> None:
    found = Estimate(value=(low + high) / 2, low=low, high=high, num_units=9)
    assert verdict(name, found) == said


def test_nothing_measured_says_nothing() -> None:
    assert verdict("tax/text", measures.difference([], [])) == "same"


def test_every_measure_names_its_suite() -> None:
    assert all(len(name.split("/")) == 2 for name in MEASURES)


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.55, 0.7, "better"), (0.4, 0.6, "same"), (0.1, 0.4, "worse")]
)
def test_a_win_rate_is_measured_from_a_half(low: float, high: float, said: str) -> None:
    assert measures.won(Estimate(value=(low + high) / 2, low=low, high=high, num_units=9)) == said


def test_what_is_no_property_of_a_unit_is_not_compared_by_unit() -> None:
    one = {"people/likert": [1.0, 2.0], "tax/text": [1.0]}
    other = {"people/likert": [1.0, 2.0, 3.0], "tax/text": [2.0]}
    assert measures.differences(one, other).keys() == {"tax/text"}
