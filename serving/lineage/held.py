"""Which snapshots hold an id; a sample of what one holds; whether its files are the ones that were written.

A row's `id` is the judgement's, or, of a prompt, the completion's.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from feedback.snapshots.files import sha256_of
from serving.lineage.graph import Break, Key, Node

MANIFEST = "manifest.json"
_FEW = 32  # ids that are looked for as bytes; of more every line is read once
_SAMPLE = 10  # ids of a file
_PEOPLE = "labelers.jsonl"


def holders(folders: Iterable[Path], ids: Collection[str]) -> dict[Path, set[str]]:
    """Folder -> those of the ids that it holds, where it holds any."""
    look = _found_few if len(ids) <= _FEW else _found_many
    found: dict[Path, set[str]] = {}
    for folder in folders if ids else ():
        paths = [path for path in sorted(folder.glob("*.jsonl")) if path.name != _PEOPLE]
        held = {each for path in paths for each in look(path, ids)}
        if held:
            found[folder] = held
    return found


def node(key: Key, folder: Path, *, verify: bool, with_sample: bool) -> Node:
    """A snapshot: its counts, a sample of its ids. `verify`: every file is hashed."""
    try:
        manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except OSError:
        what = ("incomplete", "was not finished") if folder.is_dir() else ("gone", "is gone")
        return Node(key=key, breaks=(Break(node=key, what=what[0], message=f"{key.id} {what[1]}"),))
    except ValueError:
        broken = Break(node=key, what="differs", message=f"{key.id}: its manifest cannot be read")
        return Node(key=key, breaks=(broken,))
    written: dict[str, Any] = manifest.get("files", {})
    facts = {
        "created": manifest.get("created"),
        "labelers": manifest.get("labelers"),
        "end_users": manifest.get("end_users"),
        "parts": manifest.get("parts") or {name: _rows(each) for name, each in written.items()},
        "sha256": {name: each["sha256"] for name, each in written.items()},
        "sample": {name: ids for name in written if with_sample and (ids := sample(folder / name))},
        "verified": verify,
    }
    return Node(key=key, facts=facts, breaks=tuple(_breaks(key, folder, written, verify=verify)))


def sample(path: Path, *, size: int = _SAMPLE) -> list[str]:
    """Ids of rows at evenly spaced places of a file; no more of it is read."""
    if path.suffix != ".jsonl" or path.name == _PEOPLE or not path.exists():
        return []
    found: dict[str, None] = {}
    length = path.stat().st_size
    with path.open("rb") as lines:
        for place in range(size):
            lines.seek(length * place // size)
            if place:
                lines.readline()  # the rest of the line that this byte is in
            if (line := lines.readline()) and (row_id := _id_of(line)) is not None:
                found[row_id] = None
    return list(found)


def _breaks(key: Key, folder: Path, written: dict[str, Any], *, verify: bool) -> Iterator[Break]:
    for name, each in written.items():
        path = folder / name
        if not path.is_file():
            yield Break(node=key, what="gone", message=f"{key.id}/{name} is gone")
        elif path.stat().st_size != each.get("bytes", path.stat().st_size) or (
            verify and sha256_of(path) != each["sha256"]
        ):
            yield Break(
                node=key, what="differs", message=f"{key.id}/{name} is not what was written"
            )


def _rows(written: dict[str, Any]) -> dict[str, Any]:
    return {name: written[name] for name in ("rows", "categories") if name in written}


def _found_many(path: Path, ids: Collection[str]) -> Iterator[str]:
    wanted = set(ids)
    with path.open("rb") as lines:
        for line in lines:
            row_id = _id_of(line)
            yield from {row_id} & wanted if row_id is not None else _named(line, wanted)


def _found_few(path: Path, ids: Collection[str]) -> Iterator[str]:
    if path.stat().st_size == 0:  # cannot be mapped
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for each in ids:
            if _is_a_row(data, each):
                yield each


def _is_a_row(data: mmap.mmap, wanted: str) -> bool:
    """It may also stand in somebody's text, which is no row of that id."""
    place = data.find(wanted.encode())
    while place >= 0:
        start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
        end = end if end >= 0 else len(data)
        row_id = _id_of(data[start:end])
        if row_id in (wanted, None):
            return True
        place = data.find(wanted.encode(), end)
    return False


def _named(line: bytes, wanted: set[str]) -> set[str]:
    """Of a line that is broken, whatever it names: better one too many than one too few."""
    return {each for each in wanted if each.encode() in line}


def _id_of(line: bytes) -> str | None:
    try:
        row = orjson.loads(line)
    except ValueError:
        return None
    found = row.get("id") if isinstance(row, dict) else None
    return found if isinstance(found, str) else None
