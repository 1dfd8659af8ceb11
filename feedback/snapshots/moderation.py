"""Texts with what people say moderation should have said of them: what its classifier learns from.

1. Read every judgement of the log: corrections, and the flags that labelers put on answers while they rate or
rank. What was taken back or changed does not count, nor who has no standing.
2. Per text and category: the newest correction decides; without one the labelers' majority, and a tie
decides nothing.
3. Look the texts up, and write them with a digest: JSON lines as `moderation.train` reads them.

A category that nobody spoke of stays unknown: a flag that was left unticked is no word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feedback.events import Completion, Feedback
from feedback.history import History
from feedback.snapshots.files import Rows
from feedback.snapshots.people import People
from feedback.tail import prompt_text

CORRECTIONS, FLAGS = "corrections", "flags"  # a text's source: who spoke of it

# InstructGPT's flags, where they mean one category of moderation. `encourages_harm` means several.
_CATEGORY_OF = {
    "sexual_content": "sexual",
    "violent_content": "violence",
    "denigrates_protected_class": "hate",
}

# What is spoken of: (completion id, index of the answer or None for the prompt), or a text by itself.
About = tuple[str, int | None] | str
Labels = dict[str, bool]


@dataclass
class Words:
    """What people said of one text. Filled in the order of the log."""

    id: str  # what erasing a person is told by: the completion, or the first word on a text by itself
    corrections: Labels = field(default_factory=dict)
    flags: dict[str, Labels] = field(default_factory=dict)  # by labeler

    def labels(self) -> Labels:
        """Category -> whether the text belongs to it; one that is not there is unknown."""
        found = {}
        for category in {name for said in self.flags.values() for name in said}:
            votes = [said[category] for said in self.flags.values() if category in said]
            if 2 * sum(votes) != len(votes):
                found[category] = 2 * sum(votes) > len(votes)
        return found | self.corrections


def spoken_of(history: History, people: People, *, until: str = "+") -> dict[About, Words]:
    """By what it is said of. Holds labels in memory, no texts but those that were given with them."""
    gone = set()
    for _, event in history.read(Feedback.kind, until=until):
        assert isinstance(event, Feedback)
        if event.form == "retraction":
            gone.add(event.body["of"])
        if event.replaces is not None:
            gone.add(event.replaces)
    found: dict[About, Words] = {}
    for _, event in history.read(Feedback.kind, until=until):
        assert isinstance(event, Feedback)
        if event.id in gone or people.weight(event) == 0:
            continue
        if event.form == "correction":
            body = event.body
            about = body["text"] or (body["completion_id"], body["index"])
            words = found.setdefault(about, Words(id=body["completion_id"] or event.id))
            words.corrections |= body["labels"]
        elif event.source == "labeler":
            for completion_id, index, flags in _flagged(event):
                said = {
                    _CATEGORY_OF[name]: on for name, on in flags.items() if name in _CATEGORY_OF
                }
                if said:
                    words = found.setdefault((completion_id, index), Words(id=completion_id))
                    words.flags.setdefault(event.labeler, {}).update(said)
    return found


def write(history: History, people: People, path: Path, *, until: str = "+") -> dict[str, Any]:
    """The file and what is in it: digest, rows, texts by category. A text that was erased is left out."""
    counts: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"in": 0, "out": 0})
    with Rows(path) as rows:
        for row in _rows(history, spoken_of(history, people, until=until)):
            rows.add(row)
            for category, label in row["labels"].items():
                counts[category]["in" if label else "out"] += 1
    return rows.written | {"categories": {name: counts[name] for name in sorted(counts)}}


def _rows(history: History, words: Mapping[About, Words]) -> Iterator[dict[str, Any]]:
    """Each text once: what was said of a text by itself goes before what was said of an answer like it."""
    written = set()
    for about in sorted(words, key=lambda one: not isinstance(one, str)):
        labels = words[about].labels()
        text = about if isinstance(about, str) else _text(history, *about)
        if not labels or not text or text in written:
            continue
        written.add(text)
        yield {
            "id": words[about].id,
            "text": text,
            "source": CORRECTIONS if words[about].corrections else FLAGS,
            "labels": {category: int(label) for category, label in sorted(labels.items())},
        }


def _flagged(event: Feedback) -> Iterator[tuple[str, int, Mapping[str, bool]]]:
    """(completion id, index, flags) of the answers that a labeler rated."""
    body = event.body
    if event.form == "rating":
        yield body["completion_id"], body["index"], body["flags"]
    elif event.form == "ranking":
        for letter, card in body["ratings"].items():
            ref = body["candidates"][ord(letter) - ord("a")]
            yield ref["completion_id"], ref["index"], card["flags"]


def _text(history: History, completion_id: str, index: int | None) -> str | None:
    found = history.get(Completion.kind, completion_id)
    if not isinstance(found, Completion):
        return None
    if index is None:
        return prompt_text(found)
    return next((choice.text for choice in found.choices if choice.index == index), None)
