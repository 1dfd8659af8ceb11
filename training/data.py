"""What a snapshot holds, and pretraining text, as token groups.

A snapshot's JSONL is written by feedback.snapshot; rows that do not fit the recipe's context are
dropped, as the paper drops prompts over 1k tokens.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from feedback.errors import Unprocessable
from training.batches import Group

Split = Literal["train", "heldout"]
Tokenize = Callable[[str], Sequence[int]]
T = TypeVar("T")

_PTX_HELDOUT_EVERY = 10  # every tenth example of the pretraining text is never trained on


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One labeler's order of K answers to one prompt."""

    id: str
    group: Group
    ranks: tuple[int, ...]  # 1 is best, equal ranks are ties

    @property
    def num_comparisons(self) -> int:
        """Pairs with a winner; 0 for all ties."""
        return sum(a < b for a in self.ranks for b in self.ranks)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    id: str
    ids: tuple[int, ...]
    text: str


def read_rankings(snapshot: Path, *, split: Split, max_tokens: int) -> list[Ranking]:
    """Rankings of one split that hold a comparison and whose answers fit the context."""
    found = []
    for row in _lines(snapshot / "rankings.jsonl"):
        answers = tuple(tuple(completion["token_ids"]) for completion in row["completions"])
        prompt = tuple(row["prompt_ids"])
        fits = all(answers) and prompt and len(prompt) + max(map(len, answers)) <= max_tokens
        if row["split"] != split or not fits:
            continue
        ranking = Ranking(
            id=row["id"],
            group=Group(prompt_ids=prompt, answers=answers),
            ranks=tuple(row["ranks"]),
        )
        if ranking.num_comparisons:
            found.append(ranking)
    return found


def read_prompts(snapshot: Path, *, split: Split, max_tokens: int) -> list[Prompt]:
    """Prompts of one split that leave room for an answer, `max_tokens` long at most."""
    return [
        Prompt(id=row["id"], ids=tuple(row["prompt_ids"]), text=row.get("prompt_text", ""))
        for row in _lines(snapshot / "prompts.jsonl")
        if row["split"] == split and 0 < len(row["prompt_ids"]) <= max_tokens
    ]


def read_demonstrations(
    snapshot: Path, *, tokenize: Tokenize, eos_id: int, max_tokens: int
) -> list[Group]:
    """What people wrote themselves, each as the one answer to its prompt, with an EOS."""
    found = []
    for row in _lines(snapshot / "demonstrations.jsonl"):
        answer = (*tokenize(row["completion_text"]), eos_id)
        if row["prompt_ids"] and len(row["prompt_ids"]) + len(answer) <= max_tokens:
            found.append(Group(prompt_ids=tuple(row["prompt_ids"]), answers=(answer,)))
    return found


def read_pretraining(
    path: Path | None, *, tokenize: Tokenize, example_tokens: int, split: Split
) -> list[tuple[int, ...]]:
    """Pretraining text cut into examples of `example_tokens` tokens.

    Without a path: the topics of Python's own `help()`, English text that every machine has. Raises
    Unprocessable when the text holds no whole example.
    """
    examples = []
    for text in _texts(path):
        ids = tuple(tokenize(text))
        starts = range(0, len(ids) - example_tokens + 1, example_tokens)
        examples += [ids[start : start + example_tokens] for start in starts]
    is_heldout = split == "heldout"
    kept = [e for i, e in enumerate(examples) if (i % _PTX_HELDOUT_EVERY == 0) == is_heldout]
    if not kept:
        raise Unprocessable(
            f"pretraining text {path or 'pydoc_data.topics'} holds no {split} example of "
            f"{example_tokens} tokens; set HONE_TRAINING_PTX_PATH to more text"
        )
    return kept


def choose(items: Sequence[T], *, count: int, seed: int, turn: int) -> list[T]:
    """The `turn`-th batch of `count` items: every item once, in a new order, before any comes again.

    A function of its arguments alone, so that a resumed run goes on with the very batch it would
    have had.
    """
    chosen: list[T] = []
    position = turn * count
    while len(chosen) < count:
        epoch, offset = divmod(position, len(items))
        order = list(range(len(items)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        chosen += [items[i] for i in order[offset : offset + count - len(chosen)]]
        position = turn * count + len(chosen)
    return chosen


def _texts(path: Path | None) -> Iterator[str]:
    if path is None:
        for topic in sorted(pydoc_data.topics.topics):
            yield _plain(pydoc_data.topics.topics[topic])
        return
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.suffix == ".txt":
            yield file.read_text()
        elif file.suffix == ".jsonl":
            yield from (row["text"] for row in _lines(file))


def _plain(topic: str) -> str:
    """Without the underlines and the ragged spaces of a terminal page."""
    return re.sub(r"[ \n]*\n[*=\-~^]{3,}\n", "\n", re.sub(r" {2,}", " ", topic))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            yield json.loads(line)
