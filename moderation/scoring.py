"""JSON lines with `text` in, the same lines with `scores` out: what `hone moderation score` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import orjson

from feedback.errors import Unprocessable

CHUNK = 2000  # texts in memory at once


class Scorer(Protocol):
    """What `moderation.classifier.Classifier` is to this module."""

    def score_many(self, texts: list[str]) -> list[dict[str, float]]: ...


def scored_lines(lines: Iterable[bytes], *, scorer: Scorer, name: str) -> Iterator[bytes]:
    """Every line with its other fields kept, in order; empty lines are left out.

    Raises Unprocessable with the number of a line that is no object with a `text`.
    """
    chunk: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            chunk.append(_fields(line, where=f"{name}, line {number}"))
        if len(chunk) == CHUNK:
            yield from _scored(chunk, scorer)
            chunk = []
    yield from _scored(chunk, scorer)


def _fields(line: bytes, *, where: str) -> dict[str, Any]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Unprocessable(f'{where}: not JSON ({error}). Write {{"text": "…"}}.') from error
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise Unprocessable(f'{where}: an object with a string "text" is needed.')
    return fields


def _scored(chunk: list[dict[str, Any]], scorer: Scorer) -> Iterator[bytes]:
    found = scorer.score_many([fields["text"] for fields in chunk])
    for fields, scores in zip(chunk, found, strict=True):
        rounded = {name: round(score, 6) for name, score in scores.items()}
        yield orjson.dumps({**fields, "scores": rounded}) + b"\n"
