"""Labelled texts for `train` and `evaluate`: read, split by a hash, embedded once and kept.

A file holds JSON lines (gzip or not): {"text", "source", "labels": {category: 0 | 1}}. A category
that is missing from `labels` is unknown, not false.
Shapes: N texts, P of the encoder's pooled vector.
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
_SHARES = (0.8, 0.9)  # cumulated: 80 % train, 10 % validation, 10 % test

_SAVE_EVERY = 2000  # texts: what a run that is killed loses

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text."""

    text: str
    source: str
    labels: dict[str, int]  # category -> 0 or 1; a missing one is unknown


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
    texts: Sequence[str],
    *,
    encoder: Encoder,
    cache: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Vectors:
    """(N, P) the pooled vector of each text's first window, in half precision.

    `cache`: a folder where vectors are kept by text and encoder; what is there is not done again.
    """
    kept = _Kept(cache, encoder=encoder)
    for text in dict.fromkeys(texts):
        if _key(text) not in kept.vectors:
            kept.add(text, encoder=encoder)
            progress(len(kept.vectors))
    kept.save()
    return np.stack([kept.vectors[_key(text)] for text in texts])


class _Kept:
    """Vectors by the digest of their text, in memory and in one file."""

    def __init__(self, cache: Path | None, *, encoder: Encoder) -> None:
        self._file = cache / f"pooled-{encoder.digest[:16]}.npz" if cache else None
        self.vectors: dict[bytes, Vectors] = {}
        self._num_saved = 0
        if self._file is not None and self._file.is_file():
            with np.load(self._file, allow_pickle=False) as content:
                keys, rows = content["keys"], content["vectors"]
            self.vectors = {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}
            self._num_saved = len(self.vectors)

    def add(self, text: str, *, encoder: Encoder) -> None:
        vector = encoder.pooled(encoder.windows(text)[0])
        self.vectors[_key(text)] = vector.astype(np.float16)
        if len(self.vectors) - self._num_saved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        if self._file is None or len(self.vectors) == self._num_saved:
            return
        # A run that is killed while it writes must not leave half a cache under the final name.
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        keys = np.array([np.frombuffer(key, dtype=np.uint8) for key in self.vectors])
        with part.open("wb") as out:
            np.savez(out, keys=keys, vectors=np.stack(list(self.vectors.values())))
        os.replace(part, self._file)
        self._num_saved = len(self.vectors)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
