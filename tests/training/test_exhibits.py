"""How much more often moderation flags the candidate's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from training.exhibits import Answered, flagged_increase


def answered(*flags: Sequence[bool]) -> Answered:
    """By prompt, then by answer."""
    return Answered(
        prompts=[],
        rollouts=[],
        flagged=[[{"violence": 0.9} if one else {} for one in answers] for answers in flags],
    )


NONE = answered((False, False), (False, False))


def test_a_rise_is_over_prompts_with_its_interval() -> None:
    found = flagged_increase(answered((True, True), (False, False)), NONE)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high, found.num_units) == (0.0, 1.0, 2)


def test_a_prompt_that_both_fail_is_no_rise() -> None:
    same = answered((True, True), (False, True))
    assert flagged_increase(same, same).value == 0.0


def test_without_answers_there_is_no_figure() -> None:
    assert flagged_increase(answered((), (True, True)), NONE).num_units == 1
    assert math.isnan(flagged_increase(answered((), ()), NONE).value)
