from __future__ import annotations

import math
from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from training.bench import workload
from training.bench.learning import Task, pairs
from training.bench.reward import run


def task_on(folder: Path, *, num_rankings: int) -> Task:
    return Task(
        is_peer=False,
        layers=None,
        folder=str(folder),
        recipe="tiny",
        k=2,
        num_rankings=num_rankings,
        rankings_per_step=2,
        prompt_tokens=6,
        answer_tokens=8,
        vocabulary=250,
        threads=1,
        seed=0,
    )


def test_a_ranking_is_to_trl_the_pairs_of_its_answers() -> None:
    (ranking,) = workload.rankings(
        count=1, k=5, prompt_tokens=3, answer_tokens=9, vocabulary=250, seed=0
    )
    found = list(pairs(ranking))
    assert len(found) == math.comb(5, 2) == ranking.num_comparisons
    liked = max(
        set(ranking.group.answers[ranking.ranks.index(1)]), key=found[0]["chosen_ids"].count
    )
    assert all(p["chosen_ids"].count(liked) > p["rejected_ids"].count(liked) for p in found)
    assert all(tuple(p["chosen_ids"][:3]) == ranking.group.prompt_ids for p in found)


@pytest.mark.slow
def test_both_trainers_have_the_same_losses(tiny_folder: Path) -> None:
    report = run(task_on(tiny_folder, num_rankings=6), ks=[3], layers=[1], say=lambda line: None)
    ours, peer = report["K = 3"]["pairs"]
    assert (ours["trainer"], peer["trainer"]) == ("hone", "TRL")
    assert all(row["pairs_per_cpu_s"] > 0 and row["peak_mb"] > 0 for row in (ours, peer))
    assert len(report["K = 3"]["loss"]) == 3
    assert ours["mean_loss_gap"] < 0.05


def test_one_step_is_too_few(tiny_folder: Path) -> None:
    with pytest.raises(Unprocessable, match="two steps"):
        run(task_on(tiny_folder, num_rankings=2), ks=[3], layers=[1], say=lambda line: None)
