"""A round whose training labelers and whose held-out people want the opposite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.given_round import write_round, write_rows
from tests.training.test_gate import GOOD
from tests.training.test_reward import rankings_by_count
from training import independent, models, reward
from training.batches import Group
from training.config import RECIPES
from training.gate import judge
from training.job import Job
from training.models import POLICY, REWARD, Models
from training.wins import Scores, win_rate


@pytest.fixture
def job(tmp_path: Path, tiny_folder: Path) -> Job:
    recipe = tmp_path / "short.toml"
    text = (RECIPES / "tiny.toml").read_text()
    text = text.replace("learning_rate = 3e-3", "learning_rate = 1e-2")
    recipe.write_text(text.replace("independent_reward = false", "independent_reward = true"))
    folder = write_round(tmp_path / "round-0001", base_model=tiny_folder, recipe=recipe)
    rows = read_rows(folder / "snapshot" / "rankings.jsonl")
    for row in rows:
        if row["split"] == "train":
            row["ranks"] = [5 - rank for rank in row["ranks"]]
    write_rows(folder / "snapshot" / "rankings.jsonl", rows)
    return Job.open(folder)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def loaded(job: Job) -> Models:
    """As the gate has them."""
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[POLICY, REWARD],
        device=models.resolve_device("cpu"),
        seed=1,
    )
    reward.load_into(model, job.reward_folder)
    return model


def answers() -> tuple[list[Group], list[Group]]:
    """To the same prompts: what the training labelers like best, and what they like least."""
    asked = [r.group for r in rankings_by_count(16, token=50, seed=5)]
    few = [Group(prompt_ids=g.prompt_ids, answers=((101, 102, 103, 104),) * 2) for g in asked]
    many = [Group(prompt_ids=g.prompt_ids, answers=((50, 50, 50, 101),) * 2) for g in asked]
    return few, many


def scored(
    job: Job, model: Models, groups: tuple[list[Group], list[Group]]
) -> tuple[Scores, Scores]:
    readout = job.recipe.reward.readout
    return (
        reward.score_groups(model, groups[0], readout=readout),
        reward.score_groups(model, groups[1], readout=readout),
    )


def test_what_pleases_the_proxy_alone_is_refused(job: Job) -> None:
    reward.run(job)
    independent.train(job)
    model, groups = loaded(job), answers()
    proxy = scored(job, model, groups)
    assert win_rate(*proxy).value > 0.9
    found, scores = independent.ask(job, model, groups, proxy=proxy)
    assert found is not None
    assert scores is not None
    assert found.win_rate.value < 0.1
    assert found.proxy_gap.value > 0.8
    assert found.accuracy.value < 0.2  # of people who want the opposite
    report = judge(replace(GOOD, independent=found), job.recipe.gate)
    failed = {check.name for check in report.checks if not check.passed}
    assert failed == {"independent_accuracy", "independent_win_rate", "proxy_gap"}


def test_a_killed_one_goes_on_and_what_is_done_stays_the_same(job: Job) -> None:
    folder = job.folder / independent.FOLDER
    independent.train(job)
    first = (folder / "report.json").read_text()
    head = (folder / reward.HEAD).read_bytes()
    steps = sorted(folder.glob("state-*"))
    assert steps
    (folder / "report.json").unlink()
    (folder / reward.HEAD).unlink()
    independent.train(job)
    assert (folder / "report.json").read_text() == first
    assert (folder / reward.HEAD).read_bytes() == head
    lines = read_rows(folder / "metrics.jsonl")
    assert len({line["iteration"] for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("left", "why"), [("train", "no ranking is held out"), ("heldout", "nothing to measure it by")]
)
def test_without_judgements_for_it_the_gate_says_no_and_why(job: Job, left: str, why: str) -> None:
    rows = read_rows(job.snapshot / "rankings.jsonl")
    write_rows(job.snapshot / "rankings.jsonl", [row for row in rows if row["split"] == left])
    independent.train(job)
    found, _ = independent.ask(job, object(), answers(), proxy=([], []))  # type: ignore[arg-type]
    assert found is not None
    report = judge(replace(GOOD, independent=found), job.recipe.gate)
    failed = {check.name: check.note for check in report.checks if not check.passed}
    assert failed.keys() == {"independent_accuracy", "independent_win_rate", "proxy_gap"}
    assert all(why in note for note in failed.values())


def without(job: Job, **changes: Any) -> Job:
    gate = job.recipe.gate.model_copy(update={"independent_reward": False})
    return replace(job, recipe=job.recipe.model_copy(update={"gate": gate}), **changes)


def test_a_recipe_that_asks_for_none_has_none(job: Job) -> None:
    off = without(job)
    independent.train(off)
    assert not (job.folder / independent.FOLDER).exists()
    assert independent.ask(off, object(), answers(), proxy=([], [])) == (None, None)  # type: ignore[arg-type]
    assert judge(GOOD, off.recipe.gate).passed
