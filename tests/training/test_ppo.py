from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from training import ppo
from training.config import RECIPES, load_recipe
from training.job import Job
from training.rounds import Plan

TINY = load_recipe("tiny")
ROOM = TINY.model.max_sequence_tokens - TINY.ppo.response_tokens
PLAN = Plan(
    round_id="round-0001",
    recipe="tiny",
    parent="policy-0000",
    parent_path=None,
    base_model="",
    engine_urls=["http://a:1"],
    seed=1,
    created=1.0,
)


@pytest.fixture
def round_dir(tmp_path: Path, tiny_folder: Path) -> Path:
    (tmp_path / "snapshot").mkdir()
    plan = vars(PLAN) | {"recipe": str(RECIPES / "tiny.toml"), "base_model": str(tiny_folder)}
    (tmp_path / "round.json").write_text(json.dumps(plan))
    return tmp_path


def write_prompts(round_dir: Path, *lengths: int) -> None:
    rows = [
        {"id": str(i), "prompt_ids": [5] * length, "split": "train"}
        for i, length in enumerate(lengths)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (round_dir / "snapshot" / "prompts.jsonl").write_text(text)


def test_an_empty_snapshot_is_said_before_any_model_is_loaded(round_dir: Path) -> None:
    write_prompts(round_dir)
    with pytest.raises(Unprocessable, match="no prompt to train on; collect"):
        ppo.run(Job.open(round_dir))
    assert list((round_dir / "ppo").iterdir()) == []


def test_prompts_that_leave_no_room_for_an_answer_are_left_out_and_counted(
    round_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_prompts(round_dir, 3, ROOM, ROOM + 1)
    with caplog.at_level(logging.WARNING):
        assert [len(p.ids) for p in ppo.read_fitting_prompts(Job.open(round_dir))] == [3, ROOM]
    assert "1 of 3 prompts are left out" in caplog.text


def test_prompts_that_are_all_too_long_are_an_error_with_its_cure(round_dir: Path) -> None:
    write_prompts(round_dir, ROOM + 1, ROOM + 2)
    with pytest.raises(Unprocessable, match=f"all 2 prompts are longer than {ROOM} tokens; raise"):
        ppo.run(Job.open(round_dir))


def test_full_weights_are_never_loaded_into_engines_that_answer_people() -> None:
    for own in ((), ("http://a:1/",), ("http://b:1", "http://a:1")):
        with pytest.raises(Unprocessable, match="HONE_TRAINING_ROLLOUT_ENGINE_URLS"):
            ppo.rollout_urls(PLAN, weights="full", own=own)
    assert ppo.rollout_urls(PLAN, weights="full", own=("http://b:1/",)) == ["http://b:1"]
    assert ppo.rollout_urls(PLAN, weights="adapter", own=()) == ["http://a:1"]
    assert ppo.rollout_urls(PLAN, weights="adapter", own=("http://b:1",)) == ["http://b:1"]
