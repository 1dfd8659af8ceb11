from __future__ import annotations

import pytest

from training.dispatch import AnswerLengths, freest


@pytest.mark.parametrize(
    ("in_flight", "size", "expected"),
    [
        ({"a": 4, "b": 2, "c": 3}, 1, "b"),
        ({"a": 4, "b": 4}, 1, "a"),
        ({"a": 8, "b": 7}, 1, "b"),
        ({"a": 8, "b": 7}, 2, None),  # 9 would be over the bound
        ({"a": 8, "b": 8}, 1, None),
        ({"a": 1, "b": 0}, 99, "b"),  # larger than the bound: an engine to itself
        ({"a": 1}, 99, None),
        ({}, 1, None),
    ],
)
def test_a_request_goes_to_the_engine_with_the_fewest_in_flight_if_it_has_room(
    in_flight: dict[str, int], size: int, expected: str | None
) -> None:
    assert freest(in_flight, size=size, bound=8) == expected


def test_a_prompt_is_expected_to_be_answered_as_long_as_before() -> None:
    lengths = AnswerLengths()
    assert lengths.expected((1,)) == 0
    lengths.note((1,), [10, 20])
    lengths.note((2,), [60])
    assert (lengths.expected((1,)), lengths.expected((2,))) == (15, 60)
    assert lengths.expected((3,)) == 30  # the mean of all answers


def test_the_longest_goes_first_and_of_like_ones_the_longer_prompt() -> None:
    lengths = AnswerLengths()
    lengths.note((1,), [10])
    lengths.note((2,), [50])
    assert lengths.longest_first([(1,), (2,), (3,), (4, 4)]) == [1, 3, 2, 0]
