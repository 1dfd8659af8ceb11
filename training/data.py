"""What a snapshot holds, and pretraining text, as token groups.

A snapshot's JSONL is written by feedback.snapshots; rows that do not fit the recipe's context are
dropped, as the paper drops prompts over 1k tokens.
"""

from __future__ import annotations

import json
import math
import pydoc_data.topics
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from feedback.errors import Unprocessable
from training.batches import Group
from training.texts import Texts

Split = Literal["train", "validation", "heldout"]
Tokenize = Callable[[str], Sequence[int]]
T = TypeVar("T")

_PTX_HELDOUT_EVERY = 10  # every tenth example of the pretraining text is never trained on


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One labeler's order of K answers to one prompt."""

    id: str
    group: Group
    ranks: tuple[int, ...]  # 1 is best, equal ranks are ties
    weight: float = 1.0  # 0 to 1: how far the labeler is trusted
    labeler: str = ""  # who judged; empty where nobody knows
    is_heldout_labeler: bool = False  # of whom nothing is ever trained on

    @property
    def num_comparisons(self) -> int:
        """Pairs with a winner; 0 for all ties."""
        return sum(a < b for a in self.ranks for b in self.ranks)

    @property
    def num_ties(self) -> int:
        return math.comb(len(self.ranks), 2) - self.num_comparisons


@dataclass(frozen=True, kw_only=True)
class Usable:
    """Rankings that teach something, and what became of the others."""

    rankings: list[Ranking]
    left_out: dict[str, int]  # rankings, by reason
    ties_dropped: int  # pairs without a winner, of rankings that are used or have no winner at all


@dataclass(frozen=True, kw_only=True)
class Prompt:
    id: str
    ids: tuple[int, ...]
    text: str


def read_rankings(
    snapshot: Path, *, split: Split, max_tokens: int, texts: Texts | None = None
) -> list[Ranking]:
    """Rankings of one split that hold a comparison and whose answers fit the context.

    Without `texts`, rows whose personal data was masked are left out: they hold no token ids.
    """
    return usable(all_rankings(snapshot, split=split, texts=texts), max_tokens=max_tokens).rankings


def all_rankings(snapshot: Path, *, split: Split, texts: Texts | None = None) -> Iterator[Ranking]:
    """Rankings of one split as they are."""
    for row in _lines(snapshot / "rankings.jsonl"):
        if row["split"] == split:
            answers = tuple(_answer_ids(answer, texts) for answer in row["completions"])
            yield Ranking(
                id=row["id"],
                group=Group(prompt_ids=_prompt_ids(row, texts), answers=answers),
                ranks=tuple(row["ranks"]),
                weight=row.get("weight", 1.0),
                labeler=row.get("labeler") or "",
                is_heldout_labeler=row.get("heldout_by") == "labeler",
            )


def usable(rankings: Iterable[Ranking], *, max_tokens: int) -> Usable:
    """Those with a winner whose every answer fits the context behind the prompt."""
    kept, left_out, ties = [], Counter[str](), 0
    for ranking in rankings:
        why = _why_not(ranking, max_tokens=max_tokens)
        if why is None:
            kept.append(ranking)
        else:
            left_out[why] += 1
        if why in (None, "no_winner"):
            ties += ranking.num_ties
    return Usable(rankings=kept, left_out=dict(left_out), ties_dropped=ties)


def read_prompts(
    snapshot: Path, *, split: Split, max_tokens: int, texts: Texts | None = None
) -> list[Prompt]:
    """Prompts of one split that leave room for an answer, `max_tokens` long at most."""
    rows = (row for row in _lines(snapshot / "prompts.jsonl") if row["split"] == split)
    prompts = (
        Prompt(id=row["id"], ids=_prompt_ids(row, texts), text=row.get("prompt_text", ""))
        for row in rows
    )
    return [prompt for prompt in prompts if 0 < len(prompt.ids) <= max_tokens]


def read_demonstrations(
    snapshot: Path, *, split: Split, max_tokens: int, texts: Texts
) -> list[Group]:
    """What people wrote themselves, each as the one answer to its prompt, with an EOS."""
    found = []
    for row in _lines(snapshot / "demonstrations.jsonl"):
        if row["split"] != split:
            continue
        prompt, answer = _prompt_ids(row, texts), (*texts.ids(row["completion_text"]), texts.eos_id)
        if prompt and len(prompt) + len(answer) <= max_tokens:
            found.append(Group(prompt_ids=prompt, answers=(answer,)))
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


def _why_not(ranking: Ranking, *, max_tokens: int) -> str | None:
    prompt_ids, answers = ranking.group.prompt_ids, ranking.group.answers
    if len(answers) < 2:
        return "one_answer"
    if not (prompt_ids and all(answers)):
        return "no_tokens"
    if len(prompt_ids) + max(map(len, answers)) > max_tokens:
        return "too_long"
    return None if ranking.num_comparisons else "no_winner"


def _prompt_ids(row: Mapping[str, Any], texts: Texts | None) -> tuple[int, ...]:
    if row["prompt_ids"] is not None:
        return tuple(row["prompt_ids"])
    return texts.prompt_ids(row) if texts is not None else ()


def _answer_ids(answer: Mapping[str, Any], texts: Texts | None) -> tuple[int, ...]:
    if answer["token_ids"] is not None:
        return tuple(answer["token_ids"])
    return texts.answer_ids(answer) if texts is not None else ()


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
