from __future__ import annotations

from training import budget
from training.settings import TrainingSettings

BOUND = TrainingSettings(round_hours=2, round_gpu_hours=4, round_episodes=100)


def test_without_a_bound_a_round_may_cost_anything() -> None:
    free = TrainingSettings()
    assert budget.exceeded(free, spent_s=1e9, num_gpus=8) is None
    assert budget.too_many_episodes(free, num_episodes=10**9) is None


def test_each_bound_says_what_was_spent_and_how_it_is_raised() -> None:
    assert budget.exceeded(BOUND, spent_s=7200, num_gpus=2) is None
    why = budget.exceeded(BOUND, spent_s=7300, num_gpus=0)
    assert why is not None
    assert "2.03 h" in why
    assert "HONE_TRAINING_ROUND_HOURS is 2" in why
    why = budget.exceeded(BOUND, spent_s=3700, num_gpus=4)
    assert why is not None
    assert "4.11 GPU hours" in why
    assert budget.too_many_episodes(BOUND, num_episodes=100) is None
    assert "101 episodes" in str(budget.too_many_episodes(BOUND, num_episodes=101))
