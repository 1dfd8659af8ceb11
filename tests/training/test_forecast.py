from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.forecast import remaining_s

STEPS = ("snapshot", "reward", "ppo")
FORMER = [{"snapshot": 1.0, "reward": 10.0, "ppo": 100.0}] * 3


def test_what_is_left_is_the_rest_of_this_step_and_the_usual_time_of_those_to_come() -> None:
    left = remaining_s(STEPS, "reward", elapsed_s=4.0, share=None, former=FORMER)
    assert left == 6.0 + 100.0
    assert remaining_s(STEPS, "reward", elapsed_s=40.0, share=None, former=FORMER) == 100.0


def test_a_step_s_own_word_goes_before_what_was_usual() -> None:
    assert remaining_s(STEPS, "ppo", elapsed_s=30.0, share=0.25, former=FORMER) == 90.0
    assert remaining_s(STEPS, "ppo", elapsed_s=30.0, share=0.25, former=[]) == 90.0


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert remaining_s(STEPS, "reward", elapsed_s=1.0, share=0.5, former=[]) is None
    assert remaining_s(STEPS, "ppo", elapsed_s=1.0, share=None, former=[]) is None


def test_only_the_last_rounds_count() -> None:
    slow = [{"ppo": 1000.0}] * 20
    fast = [{"ppo": 10.0}] * 10
    assert remaining_s(STEPS, "ppo", elapsed_s=0.0, share=None, former=slow + fast) == 10.0


@given(st.sampled_from(STEPS), st.floats(0, 1e6), st.floats(0.01, 1))
def test_it_is_never_negative(step: str, elapsed_s: float, share: float) -> None:
    left = remaining_s(STEPS, step, elapsed_s=elapsed_s, share=share, former=FORMER)
    assert left is not None
    assert left >= 0
