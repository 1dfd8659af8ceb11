"""The texts of a round of moderation, frozen: what people said of them, and which are held out.

A text is held out by its hash, so that a text said twice, or in a later round, stays on its side.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import orjson

from feedback.connection import connect
from feedback.events import Feedback
from feedback.history import History
from feedback.quality.report import frozen_weights
from feedback.settings import FeedbackSettings
from feedback.snapshots import moderation, people
from feedback.snapshots.files import write_json
from moderation import dataset
from moderation.dataset import Row
from training.job import Work

TEXTS, MANIFEST = "moderation.jsonl", "manifest.json"
HELDOUT_SHARE = 0.25
_BUCKETS = 1000


def freeze(work: Work) -> dict[str, Any]:
    """Make the snapshot, or find it finished. Returns its manifest."""
    folder = work.step_folder("snapshot")
    if (folder / MANIFEST).exists():
        return cast("dict[str, Any]", orjson.loads((folder / MANIFEST).read_bytes()))
    with connect(FeedbackSettings().redis_url) as client:
        history = History(client)
        bounds = folder / "bounds.json"  # first: a snapshot that is made again holds the same
        if not bounds.exists():
            write_json(bounds, {"feedback": history.last_entry(Feedback.kind)})
        until = orjson.loads(bounds.read_bytes())["feedback"]
        trusted = people.read(client, weights=frozen_weights(client, folder))
        written = moderation.write(history, trusted, folder / TEXTS, until=until or "-")
    manifest = {"bounds": {"feedback": until}, "files": {TEXTS: written}}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read(work: Work) -> tuple[list[Row], list[Row]]:
    """(train, held out), in the file's order."""
    rows = dataset.read(work.folder / "snapshot" / TEXTS)
    heldout = [is_heldout(row.text) for row in rows]
    return (
        [row for row, out in zip(rows, heldout, strict=True) if not out],
        [row for row, out in zip(rows, heldout, strict=True) if out],
    )


def base(path: Path | None) -> list[Row]:
    """The operator's own labelled texts, if any."""
    return dataset.read(path) if path is not None else []


def is_heldout(text: str) -> bool:
    """The same for texts that differ in case and spacing only."""
    normal = " ".join(text.casefold().split())
    drawn = int.from_bytes(hashlib.sha256(normal.encode()).digest()[:8])
    return drawn % _BUCKETS < HELDOUT_SHARE * _BUCKETS
