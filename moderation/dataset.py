"""Labelled texts for `train` and `evaluate`: read, split by a hash, embedded once and kept.

A file holds JSON lines (gzip or not): {"text", "source", "labels": {category: 0 | 1}}. A category
that is missing from `labels` is unknown, not false.
Shapes: N texts, W windows of all texts, D dimensions.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from feedback.errors import Unprocessable
from moderation.encoder import Encoder, Vectors

SPLITS = ("train", "validation", "test")
_SHARES = (0.7, 0.85)  # cumulated: 70 % train, 15 % validation, 15 % test

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text."""

    text: str
    source: str
    labels: dict[str, int]  # category -> 0 or 1; a missing one is unknown


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The vectors of N texts: text i has the windows where `owner` is i."""

    vectors: Vectors  # (W, D)
    owner: Indices  # (W,) ascending


def read(path: Path) -> list[Row]:
    """The rows of a file. Raises Unprocessable with the line that is wrong."""
    opener = gzip.open if path.suffix == ".gz" else open
    rows = []
    with opener(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                fields = orjson.loads(line)
                rows.append(
                    Row(text=fields["text"], source=fields["source"], labels=fields["labels"])
                )
            except (orjson.JSONDecodeError, KeyError) as error:
                raise Unprocessable(f"{path}, line {number}: {error!r}") from error
    return rows


def digest(rows: Sequence[Row]) -> str:
    """SHA-256 over the rows: names the data in a report."""
    state = hashlib.sha256()
    for row in rows:
        state.update(orjson.dumps([row.text, row.source, row.labels], option=orjson.OPT_SORT_KEYS))
    return state.hexdigest()


def split(rows: Sequence[Row]) -> dict[str, Indices]:
    """Row indices of each split. A source is divided in the same shares as every other.

    The order inside a source is the hash of the text without case and spacing, so that copies of
    one text fall on the same side (except where the cut runs between them).
    """
    by_source: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
    for index, row in enumerate(rows):
        normal = " ".join(row.text.casefold().split())
        by_source[row.source].append((hashlib.sha256(normal.encode()).digest(), index))
    parts: dict[str, list[int]] = {name: [] for name in SPLITS}
    for hashed in by_source.values():
        order = [index for _, index in sorted(hashed)]
        first, second = (round(share * len(order)) for share in _SHARES)
        cuts = (order[:first], order[first:second], order[second:])
        for name, part in zip(SPLITS, cuts, strict=True):
            parts[name].extend(part)
    return {name: np.array(sorted(part), dtype=np.int64) for name, part in parts.items()}


def embed(
    rows: Sequence[Row],
    *,
    encoder: Encoder,
    cache: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Embedded:
    """Vectors of every text. `cache`: a folder where they are kept, by texts and encoder."""
    file = cache / f"embedded-{_texts_digest(rows, encoder=encoder)}.npz" if cache else None
    if file is not None and file.is_file():
        with np.load(file) as kept:
            return Embedded(vectors=kept["vectors"], owner=kept["owner"])
    parts = []
    for done, row in enumerate(rows, start=1):
        parts.append(encoder.encode(row.text))
        progress(done)
    counts = [len(part) for part in parts]
    embedded = Embedded(
        vectors=np.concatenate(parts), owner=np.repeat(np.arange(len(rows)), counts)
    )
    if file is not None:
        _keep(file, embedded)
    return embedded


def highest(
    values: npt.NDArray[np.float64], *, owner: Indices, num_texts: int
) -> npt.NDArray[np.float64]:
    """(N,) the highest value among each text's windows."""
    result = np.full(num_texts, -np.inf)
    np.maximum.at(result, owner, values)
    return result


def _keep(file: Path, embedded: Embedded) -> None:
    # A run that is killed while it writes must not leave half a cache under the final name.
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez(out, vectors=embedded.vectors, owner=embedded.owner)
    os.replace(part, file)


def _texts_digest(rows: Sequence[Row], *, encoder: Encoder) -> str:
    state = hashlib.sha256(encoder.digest.encode())
    for row in rows:
        state.update(hashlib.sha256(row.text.encode()).digest())
    return state.hexdigest()[:16]
