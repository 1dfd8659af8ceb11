"""What a round wrote on disk, read in bounded amounts: the truth of a round is its folder.

A file that is not there yet, half written or on another machine's disk is no error: there is nothing to show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import orjson

STEPS_OF = {  # kind of round -> its steps, as training.rounds has them
    "policy": ("snapshot", "reward", "ppo", "gate", "publish"),
    "moderation": ("snapshot", "fit", "gate", "publish"),
}
STEPS = frozenset(step for steps in STEPS_OF.values() for step in steps)

_ROUND_ID = re.compile(r"round-\d{4,9}")
_MAX_BYTES = 16 << 20  # of a report; a larger one is not ours
_CURVES_BYTES = 8 << 20  # from the end of metrics.jsonl: 8,000 iterations
_LOG_BYTES = 16_384
_MAX_POINTS = 240  # of a curve: more than a drawing shows

Curves = dict[str, dict[str, list[tuple[int, float]]]]  # step -> metric -> (iteration, value)


class RoundFiles:
    """The folder of all rounds."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "rounds"

    def folder(self, round_id: str) -> Path | None:
        """None for what is no round's id: nothing else is looked up on the disk."""
        return self._folder / round_id if _ROUND_ID.fullmatch(round_id) else None

    def report(self, round_id: str, step: str) -> dict[str, Any] | None:
        """`report.json` of a step: reward, ppo or gate."""
        return self._json(round_id, step, "report.json")

    def plan(self, round_id: str) -> dict[str, Any] | None:
        return self._json(round_id, "round.json")

    def recipe(self, round_id: str) -> dict[str, Any] | None:
        return self._json(round_id, "recipe.json")

    def snapshot(self, round_id: str) -> dict[str, Any] | None:
        return self._json(round_id, "snapshot", "manifest.json")

    def curves(self, round_id: str) -> Curves:
        """Every metric of every step, thinned out."""
        folder = self.folder(round_id)
        return _curves(folder / "metrics.jsonl") if folder is not None else {}

    def log(self, round_id: str, step: str) -> str:
        """The end of a step's log."""
        folder = self.folder(round_id)
        if folder is None or step not in STEPS:
            return ""
        return _end_of(folder / f"{step}.log", _LOG_BYTES).decode(errors="replace")

    def ended(self, round_id: str, step: str) -> float | None:
        """When a step was finished, unix seconds; None while it is not."""
        folder = self.folder(round_id)
        try:
            return (folder / step / "DONE").stat().st_mtime if folder is not None else None
        except OSError:
            return None

    def _json(self, round_id: str, *names: str) -> dict[str, Any] | None:
        folder = self.folder(round_id)
        return read_json(folder.joinpath(*names)) if folder is not None else None


def read_json(path: Path) -> dict[str, Any] | None:
    """An object in a file of ours; what was read stays in memory until the file changes."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _read_json(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=32)
def _read_json(path: Path, _changed: int, num_bytes: int) -> dict[str, Any] | None:
    if num_bytes > _MAX_BYTES:
        return None
    try:
        found = _parsed(path.read_bytes())
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _parsed(data: bytes) -> Any:
    """What could not be measured is NaN in these files, which JSON does not have: None here."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data, parse_constant=lambda _: None)


def _curves(path: Path) -> Curves:
    try:
        found = path.stat()
    except OSError:
        return {}
    return _read_curves(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=32)
def _read_curves(path: Path, _changed: int, _num_bytes: int) -> Curves:
    curves: Curves = {}
    for row in _rows(_end_of(path, _CURVES_BYTES)):
        step = curves.setdefault(str(row.get("step")), {})
        for name, value in row.items():
            if "/" in name and isinstance(value, int | float):
                step.setdefault(name, []).append((int(row["iteration"]), float(value)))
    return {
        step: {name: _thinned(points) for name, points in metrics.items()}
        for step, metrics in curves.items()
    }


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            row = _parsed(line)
        except ValueError:
            continue  # the first of a part, or one that is being written
        if isinstance(row, dict) and "iteration" in row:
            yield row


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Evenly, with the last one."""
    if len(points) <= _MAX_POINTS:
        return points
    step = len(points) / _MAX_POINTS
    return [points[int(number * step)] for number in range(_MAX_POINTS - 1)] + points[-1:]


def _end_of(path: Path, num_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - num_bytes))
            return file.read()
    except OSError:
        return b""
