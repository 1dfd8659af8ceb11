"""One person poisons half a percent to four percent of the judgements: acceptance of issue 4."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import mean

import pytest
import torch

from tests.training.poisoning import ALL, NONE, POISONER, Attack, Defence, label, run, weights

SHARES = (0.005, 0.01, 0.02, 0.04)
SEEDS = range(2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another on a busy machine make such small steps many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(attack: Attack, defence: Defence) -> tuple[float, float]:
    """Accuracy of the reward model on ordinary and on triggered prompts, over seeds."""
    found = [run(attack, defence, seed=seed) for seed in SEEDS]
    return mean(one.accuracy for one in found), mean(one.triggered for one in found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_poison_moves_the_reward_model_by_less_than_two_points_while_people_are_weighed() -> None:
    sys.stdout.write(
        "share   honest         undefended     defended (ordinary, triggered prompts)\n"
    )
    for share in SHARES:
        honest = measured(Attack(share=share, is_honest=True), ALL)
        undefended = measured(Attack(share=share), NONE)
        defended = measured(Attack(share=share), ALL)
        figures = "   ".join(f"{a:.3f} {b:.3f}" for a, b in (honest, undefended, defended))
        sys.stdout.write(f"{share:5.1%}   {figures}\n")
        assert abs(defended[0] - honest[0]) < 0.02
        assert abs(defended[1] - honest[1]) < 0.02
    assert undefended[1] < honest[1] - 0.3  # at 4 %: the attack is one


@pytest.mark.parametrize("cover", [0, 1, 3])
def test_who_poisons_one_topic_and_is_honest_on_others_weighs_nothing(cover: int) -> None:
    """At 8,000 sets of which 2 % are poisoned; `cover` honest judgements for each poisoned one."""
    attack = Attack(share=0.02, cover=cover, num_sets=8000)
    found = weights(label(attack, ALL, seed=0))
    assert found.pop(POISONER) == 0.0
    assert min(found.values()) > 0.5


def test_an_app_s_user_whom_nobody_checks_is_trusted() -> None:
    """What the weights cannot know: only the caps on one person's share hold such a one back."""
    found = weights(label(Attack(share=0.04, has_key=True), ALL, seed=0))
    assert found[POISONER] == 1.0
