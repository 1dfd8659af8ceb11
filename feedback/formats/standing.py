"""The judgements that count, each with the answers it is about; joined on disk, so that memory is flat.

1. Judgements are read in order. A later one of the same person on the same answers takes the place of the
   earlier, as do `replaces` and a retraction; what counts no more is counted by reason.
2. Completions are read once, in order; those that a judgement is about are put beside it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import orjson

from feedback.events import Completion, Feedback, decode, encode
from feedback.history import History
from feedback.judgements import aspects

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32000;
CREATE TABLE judgement (
    position INTEGER PRIMARY KEY, id TEXT UNIQUE, labeler TEXT, same BLOB, gone TEXT, data BLOB NOT NULL);
CREATE INDEX by_same ON judgement (same) WHERE gone IS NULL;
CREATE TABLE completion (id TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
"""
_ABOUT_ANSWERS = ("ranking", "comparison", "rating", "demonstration")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Entry ids of the newest events that are read; None where there are none."""

    feedback: str | None
    completions: str | None


class Standing:
    """Judgements that count, and the completions they are about."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.left_out: Counter[str] = Counter()  # judgements that are not there, by reason

    def __iter__(self) -> Iterator[tuple[Feedback, dict[str, Completion]]]:
        """In the order in which they came."""
        rows = self._database.execute(
            "SELECT data FROM judgement WHERE gone IS NULL ORDER BY position"
        )
        for (data,) in rows:
            event = cast(Feedback, decode(Feedback.kind, data))
            yield event, self._completions(event)

    def add(self, event: Feedback) -> None:
        """The next judgement of the log."""
        if event.form == "retraction":
            self._remove(event, event.body["of"], "retracted")
            return
        if event.form not in _ABOUT_ANSWERS:
            self.left_out[event.form] += 1
            return
        same = _same(event)
        if event.replaces is not None:
            self._remove(event, event.replaces, "changed_later")
        if same is not None:
            changed = self._database.execute(
                "UPDATE judgement SET gone = 'changed_later' WHERE same = ? AND gone IS NULL",
                (same,),
            )
            self.left_out["changed_later"] += changed.rowcount
        self._database.execute(
            "INSERT OR IGNORE INTO judgement (id, labeler, same, data) VALUES (?, ?, ?, ?)",
            (event.id, event.labeler, same, encode(event)),
        )
        self._database.executemany(
            "INSERT OR IGNORE INTO completion (id) VALUES (?)",
            [(completion_id,) for completion_id in event.completion_ids],
        )

    def add_completion(self, completion: Completion) -> None:
        """Kept, without its tokens, if a judgement is about it."""
        choices = [replace(choice, token_ids=[], logprobs=[]) for choice in completion.choices]
        slim = replace(completion, choices=choices, prompt_ids=[], moderation={})
        self._database.execute(
            "UPDATE completion SET data = ? WHERE id = ?", (encode(slim), completion.id)
        )

    def _remove(self, event: Feedback, event_id: str, reason: str) -> None:
        # Nobody takes back what another one said.
        changed = self._database.execute(
            "UPDATE judgement SET gone = ? WHERE id = ? AND labeler = ? AND gone IS NULL",
            (reason, event_id, event.labeler),
        )
        self.left_out[reason] += changed.rowcount

    def _completions(self, event: Feedback) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        for completion_id in event.completion_ids:
            row = self._database.execute(
                "SELECT data FROM completion WHERE id = ?", (completion_id,)
            ).fetchone()
            if row is not None and row[0] is not None:
                found[completion_id] = cast(Completion, decode(Completion.kind, row[0]))
        return found


def bounds_of(history: History) -> Bounds:
    """What the log holds now. Feedback first: a judgement's completion is there before it."""
    feedback = history.last_entry(Feedback.kind)
    return Bounds(feedback=feedback, completions=history.last_entry(Completion.kind))


@contextmanager
def standing(history: History, bounds: Bounds, *, tenant: str, beside: Path) -> Iterator[Standing]:
    """What a tenant's people said. Needs room on `beside`'s disk for the judged answers."""
    with TemporaryDirectory(prefix=".standing-", dir=beside) as folder:
        path = Path(folder) / "standing.sqlite"
        with closing(sqlite3.connect(path)) as database:
            database.executescript(_SCHEMA)
            found = Standing(database)
            if bounds.feedback is not None:
                for _, event in history.read(Feedback.kind, until=bounds.feedback):
                    if (judgement := cast(Feedback, event)).tenant == tenant:
                        found.add(judgement)
            if bounds.completions is not None:
                for _, event in history.read(Completion.kind, until=bounds.completions):
                    if (completion := cast(Completion, event)).tenant == tenant:
                        found.add_completion(completion)
            yield found


def _same(event: Feedback) -> bytes | None:
    """Equal for judgements of which only the last counts; None where each counts by itself."""
    body = event.body
    if event.form == "ranking":
        refs = [[ref["completion_id"], ref["index"]] for ref in body["candidates"]]
    elif event.form == "comparison":
        refs = [[body[side]["completion_id"], body[side]["index"]] for side in ("a", "b")]
    elif event.form == "rating":
        refs = [[aspect, -1] for aspect in aspects(body)]
        refs.append([body["completion_id"], body["index"]])
    else:
        return None
    return hashlib.sha256(orjson.dumps([event.labeler, sorted(refs)])).digest()[:16]
