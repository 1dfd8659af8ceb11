from __future__ import annotations

from dataclasses import replace

import pytest

from training.prove import canary
from training.prove.canary import NULLS, decided
from training.prove.crowd import World, run


def test_a_world_and_a_seed_make_one_run() -> None:
    assert run(NULLS[1], seed=3) == run(NULLS[1], seed=3)
    assert len({run(NULLS[1], seed=seed).naive_after for seed in range(5)}) > 1


@pytest.mark.parametrize("world", NULLS, ids=lambda world: world.name)
def test_where_nothing_differs_nearly_nobody_is_alarmed(world: World) -> None:
    runs = [run(replace(world, people=150), seed=seed) for seed in range(60)]
    assert decided(runs) <= 0.05


def test_a_test_made_for_one_look_is_alarmed_by_tastes() -> None:
    """What the sequential test is for: the crowd is indifferent, its people are not."""
    runs = [run(replace(NULLS[1], people=150), seed=seed) for seed in range(30)]
    assert sum(each.naive_after is not None for each in runs) > 15


@pytest.mark.parametrize(("win_rate", "action"), [(0.85, "promote"), (0.15, "roll_back")])
def test_what_people_clearly_prefer_is_found(win_rate: float, action: str) -> None:
    world = World(name="clear", people=150, win_rate=win_rate, taste=0.1)
    assert {run(world, seed=seed).action for seed in range(10)} == {action}


def test_a_canary_whose_answers_fail_is_rolled_back_soon() -> None:
    world = World(
        name="fails",
        people=400,
        ties=1.0,
        rates={"errors": (0.0, 1.0), "flags": (0.0, 0.0), "thumbs_down": (0.0, 0.0)},
    )
    runs = [run(world, seed=seed) for seed in range(20)]
    assert {each.action for each in runs} == {"roll_back"}
    assert max(each.after for each in runs) < 200
    assert all("fail" in each.reason for each in runs)


def test_the_proof_tells_every_world_and_judges_it() -> None:
    proof = canary.prove(seed=1, num_runs=8, plot=None)
    assert len(proof.figures["false_alarms"]) == len(NULLS)
    assert len(proof.figures["power"]) == len(canary.WIN_RATES)
    assert len(proof.figures["harm"]) == len(canary.HARMS) * len(canary.SHARES)
    assert [mark.name for mark in proof.marks][:1] == ["false alarms: alike, voters indifferent"]
