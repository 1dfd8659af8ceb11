"""Judgements that others collected, on their way to a training batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.connection import connect
from feedback.formats.imports import Wish, run
from feedback.history import History
from feedback.snapshots import builder
from feedback.snapshots.people import People
from feedback.snapshots.rules import Rules
from tests.tiny_model import write_tiny_model
from training.data import read_demonstrations, read_prompts, read_rankings
from training.texts import Texts

HH = "\n\nHuman: Question {0}?\n\nAssistant: {1} answer {0}."
NUM = 60


@pytest.fixture
def snapshot(redis_url: str, tmp_path: Path) -> Path:
    lines = [
        {"chosen": HH.format(number, "Good"), "rejected": HH.format(number, "Bad")}
        for number in range(NUM)
    ]
    lines += [
        {"prompt": f"p {n}", "responses": ["x", "yy", "z"], "ranks": [2, 1, 2]} for n in (1, 2)
    ]
    lines += [{"prompt": "say hi", "completion": "hi"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    client = connect(redis_url)
    run(client, Wish(path=tmp_path / "a.jsonl"), on_bad=lambda *line: pytest.fail(str(line)))
    rules = Rules(heldout_share=0.3)
    builder.create(History(client), tmp_path / "snapshot", rules=rules, people=People())
    return tmp_path / "snapshot"


def test_imported_judgements_are_trained_on_as_tokens_of_the_base_model(
    snapshot: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = write_tiny_model(tmp_path / "tiny")
    texts, tokenizer = Texts(folder), AutoTokenizer.from_pretrained(folder)
    train, heldout = (
        read_rankings(snapshot, split=split, max_tokens=200, texts=texts)
        for split in ("train", "heldout")
    )
    assert len(train) + len(heldout) == NUM + 2
    manifest = json.loads((snapshot / "manifest.json").read_text())
    assert (
        manifest["split_by"] == "end_user"
    )  # nobody knows who asked: conversations stand for users
    assert len(heldout) > NUM / 10
    seen = set()
    for ranking in train + heldout:
        prompt = tokenizer.decode(ranking.group.prompt_ids)
        answers = [tokenizer.decode(answer) for answer in ranking.group.answers]
        assert prompt.startswith("<|im_start|>user\n")
        assert prompt.endswith("<|im_start|>assistant\n")
        assert all(answer.endswith("<|im_end|>") for answer in answers)
        best = answers[ranking.ranks.index(1)]
        assert best.startswith(("Good answer", "yy"))
        seen.add((prompt, best))
    assert len(seen) == NUM + 2


def test_imported_prompts_and_demonstrations_are_used_as_well(
    snapshot: Path, tmp_path: Path
) -> None:
    texts = Texts(write_tiny_model(tmp_path / "tiny"))
    prompts = [
        prompt
        for split in ("train", "heldout")
        for prompt in read_prompts(snapshot, split=split, max_tokens=200, texts=texts)
    ]
    assert len({prompt.ids for prompt in prompts}) == len(prompts) == NUM + 3
    demonstrations = [
        group
        for split in ("train", "heldout")
        for group in read_demonstrations(snapshot, split=split, max_tokens=200, texts=texts)
    ]
    assert [group.answers for group in demonstrations] == [((*texts.ids("hi"), texts.eos_id),)]
