from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from feedback.errors import NotFound, Unprocessable
from training import models, reward
from training.config import load_recipe
from training.evaluation import judges
from training.evaluation.answering import Said
from training.models import REWARD
from training.rounds import Plan

EVERYONE = frozenset({"ann", "bob"})


def ranking(labeler: str, *answers: tuple[str, int], prompt: str = "p") -> dict[str, Any]:
    return {
        "labeler": labeler,
        "context": [{"role": "user", "content": prompt}],
        "completions": [{"version": version, "rank": rank} for version, rank in answers],
    }


def rating(labeler: str, version: str, likert: int | None, *, prompt: str = "p") -> dict[str, Any]:
    said = {"role": "assistant", "content": "answer"}
    messages = [{"role": "user", "content": prompt}, said]
    return {"labeler": labeler, "version": version, "likert": likert, "messages": messages}


def test_a_win_is_counted_by_pair_of_both_versions_and_a_tie_is_half() -> None:
    rows = [
        ranking("ann", ("new", 0), ("new", 2), ("old", 1), prompt="p"),  # one won, one lost
        ranking("bob", ("new", 0), ("old", 0), prompt="q"),
        ranking("bob", ("new", 0), ("new", 1), prompt="r"),  # nothing of the old one
    ]
    found = judges.people(rows, version="new", baseline="old", labelers=EVERYONE)
    assert found.win_rate == [0.5, 0.5]


def test_a_prompt_is_a_unit_however_often_it_was_judged() -> None:
    rows = [
        ranking("ann", ("new", 0), ("old", 1)),
        ranking("bob", ("new", 1), ("old", 0)),
        rating("ann", "new", 6),
        rating("bob", "new", 3),
        rating("bob", "new", 1, prompt="q"),
    ]
    found = judges.people(rows, version="new", baseline="old", labelers=EVERYONE)
    assert (found.win_rate, found.likert) == ([0.5], [4.5, 1.0])


def test_only_the_labelers_that_were_asked_for_count() -> None:
    rows = [ranking("ann", ("new", 0), ("old", 1)), ranking("bob", ("new", 1), ("old", 0))]
    found = judges.people(rows, version="new", baseline="old", labelers=frozenset({"bob"}))
    assert found.win_rate == [0.0]


def test_likert_is_of_the_version_alone() -> None:
    rows = [rating("ann", "new", 6), rating("ann", "old", 2), rating("bob", "new", None)]
    found = judges.people(rows, version="new", baseline="old", labelers=EVERYONE)
    assert found.likert == [6.0]


def test_the_baseline_does_not_win_against_itself() -> None:
    rows = [ranking("ann", ("old", 0), ("old", 1))]
    assert not judges.people(rows, version="old", baseline="old", labelers=EVERYONE).win_rate


def test_scores_of_a_prompt_are_won_pair_by_pair() -> None:
    found = judges.measure([[2.0, 0.0], [1.0]], [[1.0, 1.0], [1.0]])
    assert found["preference/win_rate"] == [0.5, 0.5]
    assert found["preference/score"] == [1.0, 1.0]


def test_of_an_export_only_what_is_held_out_is_heard(tmp_path: Path) -> None:
    for name, row in (
        ("rankings/train.jsonl", ranking("ann", ("new", 0), ("old", 1))),
        ("rankings/test.jsonl", ranking("bob", ("new", 1), ("old", 0))),
        ("ratings/test.jsonl", rating("bob", "new", 3)),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(row) + "\n")
    rows = judges.read_people(tmp_path)
    found = judges.people(rows, version="new", baseline="old", labelers=EVERYONE)
    assert (found.win_rate, found.likert) == ([0.0], [3.0])
    with pytest.raises(NotFound, match="hone export"):
        judges.read_people(tmp_path / "ratings")


def reward_model(tiny_folder: Path, out: Path, *, seed: int) -> Path:
    """What `hone train rm --out` leaves; its head is random."""
    recipe = load_recipe("tiny")
    model = models.load(
        tiny_folder, recipe=recipe.model, names=[REWARD], device=torch.device("cpu"), seed=seed
    )
    reward.save(model, out / "reward")
    plan = Plan(
        round_id="r",
        recipe="tiny",
        parent="policy-0000",
        parent_path=None,
        base_model=str(tiny_folder),
        engine_urls=[],
        seed=seed,
        created=0.0,
    )
    (out / "round.json").write_text(json.dumps(asdict(plan)))
    (out / "recipe.json").write_text(recipe.model_dump_json())
    accuracy = {"value": 0.7, "low": 0.6, "high": 0.8, "num_units": 9}
    (out / "reward" / "report.json").write_text(json.dumps({"accuracy": accuracy}))
    (out / "reward" / "DONE").touch()
    return out


def test_a_reward_model_scores_what_was_said_and_nobody_beats_himself(
    tiny_folder: Path, tmp_path: Path
) -> None:
    out = reward_model(tiny_folder, tmp_path / "rm", seed=0)
    judge = judges.RewardJudge(out)
    said = [Said(text="Hello there", has_ended=True), Said(text="", has_ended=True)]
    group = judge.group("Say hello.", said)
    ((one, empty),) = judge.score([group])
    assert one != empty
    assert judge.win_rate([group, group], [group, group]).value == 0.5
    assert judges.accuracy(out).value == 0.7


def test_a_reward_model_of_an_older_release_still_judges(tiny_folder: Path, tmp_path: Path) -> None:
    out = reward_model(tiny_folder, tmp_path / "rm", seed=0)
    recipe = json.loads((out / "recipe.json").read_text())
    del recipe["gate"]["min_win_rate"]  # what the gate did not ask for in those days
    (out / "recipe.json").write_text(json.dumps(recipe))
    assert judges.RewardJudge(out).score([]) == []
    del recipe["reward"]
    (out / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(Unprocessable, match="train it anew"):
        judges.RewardJudge(out)


def test_other_weights_have_another_digest(tiny_folder: Path, tmp_path: Path) -> None:
    one, same, other = (
        reward_model(tiny_folder, tmp_path / name, seed=seed)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert judges.digest(one) == judges.digest(same) != judges.digest(other)


def test_a_run_that_has_not_ended_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="hone train rm"):
        judges.check(tmp_path)
