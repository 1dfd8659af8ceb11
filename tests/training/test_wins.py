from __future__ import annotations

import math

import pytest

from training.wins import gap, win_rate

ABOVE, EVEN, BELOW = [2.0, 3.0], [1.0, 1.0], [0.0, 0.5]


@pytest.mark.parametrize(
    ("ours", "theirs", "value"),
    [
        ([ABOVE, ABOVE], [EVEN, EVEN], 1.0),
        ([ABOVE, BELOW], [EVEN, EVEN], 0.5),
        ([EVEN], [EVEN], 0.5),
        ([[1.0, 3.0]], [[2.0]], 0.5),
    ],
)
def test_a_win_rate_counts_pairs_of_a_prompt_and_halves_ties(
    ours: list[list[float]], theirs: list[list[float]], value: float
) -> None:
    found = win_rate(ours, theirs)
    assert found.value == value
    assert found.low <= value <= found.high
    assert found.num_units == len(ours)


def test_a_gap_is_taken_prompt_by_prompt() -> None:
    """Both judges find the same prompts hard, so their difference is surer than either."""
    hard, easy = ([BELOW], [EVEN]), ([ABOVE], [EVEN])
    proxy = tuple(a + b for a, b in zip(hard, easy, strict=True))
    assert gap(proxy, proxy).value == 0.0  # type: ignore[arg-type]
    assert gap(easy, hard).value == 1.0
    found = gap(proxy, ([EVEN, ABOVE], [EVEN, EVEN]))  # type: ignore[arg-type]
    assert (found.value, found.num_units) == (-0.25, 2)


def test_of_no_prompts_nothing_is_known() -> None:
    assert math.isnan(win_rate([], []).value)
    assert math.isnan(gap(([], []), ([], [])).value)
