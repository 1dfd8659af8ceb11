from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.errors import Unprocessable
from training.data import (
    choose,
    read_demonstrations,
    read_pretraining,
    read_prompts,
    read_rankings,
)
from training.texts import Texts


def by_character(text: str) -> list[int]:
    return [ord(character) for character in text]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ranking(**changes: Any) -> dict[str, Any]:
    completions = [{"token_ids": [1, 2]}, {"token_ids": [3]}]
    row = {"id": "a", "prompt_ids": [9], "completions": completions, "ranks": [1, 2]}
    return row | {"split": "train"} | changes


def test_rankings_that_teach_nothing_or_do_not_fit_are_dropped(tmp_path: Path) -> None:
    long = [{"token_ids": [1] * 30}, {"token_ids": [3]}]
    empty = [{"token_ids": []}, {"token_ids": [3]}]
    rows = [
        ranking(id="kept"),
        ranking(id="ties", ranks=[1, 1]),
        ranking(id="long", completions=long),
        ranking(id="empty", completions=empty),
        ranking(id="other", split="heldout"),
    ]
    write(tmp_path / "rankings.jsonl", rows)
    found = read_rankings(tmp_path, split="train", max_tokens=20)
    assert [(r.id, r.num_comparisons) for r in found] == [("kept", 1)]
    assert found[0].group.answers == ((1, 2), (3,))


def test_prompts_leave_room_and_stay_on_their_side_of_the_split(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt_ids": [1, 2], "split": "train"},
        {"id": "b", "prompt_ids": [1] * 9, "split": "train"},
        {"id": "c", "prompt_ids": [1], "split": "heldout", "prompt_text": "hi"},
    ]
    write(tmp_path / "prompts.jsonl", rows)
    assert [p.id for p in read_prompts(tmp_path, split="train", max_tokens=4)] == ["a"]
    assert [p.text for p in read_prompts(tmp_path, split="heldout", max_tokens=4)] == ["hi"]


def test_a_demonstration_ends_with_an_eos_and_stays_on_its_side(
    tmp_path: Path, tiny_folder: Path
) -> None:
    row = {"id": "a", "prompt_ids": [7], "completion_text": "ab", "split": "train"}
    write(tmp_path / "demonstrations.jsonl", [row, row | {"split": "heldout"}])
    texts = Texts(tiny_folder)
    (found,) = read_demonstrations(tmp_path, split="train", max_tokens=9, texts=texts)
    assert found.prompt_ids == (7,)
    assert found.answers == ((*texts.ids("ab"), texts.eos_id),)


def test_a_ranking_carries_how_far_its_labeler_is_trusted(tmp_path: Path) -> None:
    write(tmp_path / "rankings.jsonl", [ranking(), ranking(weight=0.25)])
    found = read_rankings(tmp_path, split="train", max_tokens=20)
    assert [r.weight for r in found] == [1.0, 0.25]


def test_what_was_masked_is_made_into_tokens_anew(tmp_path: Path, tiny_folder: Path) -> None:
    messages = [{"role": "user", "content": "call <PHONE_NUMBER>"}]
    answers = [{"token_ids": None, "text": "me", "ended": True}, {"token_ids": [3]}]
    masked = {"prompt_ids": None, "messages": messages}
    write(tmp_path / "rankings.jsonl", [ranking(completions=answers, **masked)])
    write(tmp_path / "prompts.jsonl", [{"id": "a", "split": "train", **masked}])
    texts = Texts(tiny_folder)
    rendered = "<|im_start|>user\ncall <PHONE_NUMBER><|im_end|>\n<|im_start|>assistant\n"
    (found,) = read_rankings(tmp_path, split="train", max_tokens=200, texts=texts)
    assert found.group.prompt_ids == texts.ids(rendered)
    assert found.group.answers == ((*texts.ids("me"), texts.eos_id), (3,))
    (prompt,) = read_prompts(tmp_path, split="train", max_tokens=200, texts=texts)
    assert prompt.ids == texts.ids(rendered)
    assert read_rankings(tmp_path, split="train", max_tokens=200) == []


def test_pretraining_text_is_split_without_overlap(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(chr(200 + i) for i in range(205)))
    write(tmp_path / "b.jsonl", [{"text": "x" * 20}])
    parts = [
        read_pretraining(tmp_path, tokenize=by_character, example_tokens=10, split=split)
        for split in ("train", "heldout")  # type: ignore[misc]
    ]
    assert len(parts[0]) + len(parts[1]) == 22
    assert not set(parts[0][:18]) & set(parts[1])
    assert all(len(example) == 10 for part in parts for example in part)


def test_without_a_path_there_is_english_text_on_every_machine() -> None:
    found = read_pretraining(None, tokenize=by_character, example_tokens=100, split="heldout")
    text = "".join(map(chr, (i for example in found for i in example)))
    assert len(text) > 20_000
    assert " the " in text


def test_too_little_pretraining_text_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(Unprocessable, match="HONE_TRAINING_PTX_PATH"):
        read_pretraining(tmp_path, tokenize=by_character, example_tokens=10, split="train")


def test_every_item_comes_once_before_any_comes_again() -> None:
    items = list(range(10))
    batches = [choose(items, count=4, seed=1, turn=turn) for turn in range(5)]
    flat = [item for batch in batches for item in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == items
    assert flat[:10] != flat[10:]
    assert choose(items, count=4, seed=1, turn=3) == batches[3]
    assert choose([], count=0, seed=1, turn=0) == []
