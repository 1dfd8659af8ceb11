"""Small files and folders on the disk, whole or not at all. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_END_BYTES = 16_384


def write_text(path: Path, text: str) -> None:
    """Reports and `DONE`. Of several processes of one step the first writes (torchrun says which it is)."""
    if os.environ.get("RANK", "0") != "0":
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    flush(partial)
    partial.rename(path)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A line of JSON each."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def flush_tree(folder: Path) -> None:
    """All files of a folder on the disk, before it gets its name."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """A file, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def end_of(path: Path, *, after: int = 0) -> list[str]:
    """The last lines of a log that may be long, behind byte `after`; none where there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(after, path.stat().st_size - _END_BYTES))
        return file.read().decode(errors="replace").strip().splitlines()
