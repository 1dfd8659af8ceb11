"""The records of a file, one at a time and each with its place: JSONL, JSON, also gzipped, Parquet, and Arrow as
the `datasets` library saves it."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from feedback.errors import BadRequest, NotFound

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow")
_MAX_LINE = 32_000_000  # bytes; a longer one is no record but a file of another kind
_CHUNK = 1 << 20
_NOT_DATA = (
    "manifest.json",
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A value, or why there is none."""

    where: str  # "preferences.jsonl:12"
    value: Any = None
    problem: str | None = None


def files_of(path: Path) -> list[Path]:
    """The files to read of a folder, or the one file. Raises NotFound."""
    if path.is_file():
        return [path]
    found = [file for file in sorted(path.rglob("*")) if _suffix(file) in _SUFFIXES]
    files = [
        file
        for file in found
        if file.name not in _NOT_DATA and not _is_cache(file) and file.is_file()
    ]
    if not files:
        raise NotFound(f"{path}: no file, and no folder with {', '.join(_SUFFIXES)} in it")
    return files


def read(file: Path, *, name: str | None = None) -> Iterator[Record]:
    """Records in order. Raises BadRequest where this is no such file at all."""
    name = name or file.name
    suffix = _suffix(file)
    if suffix in (".parquet", ".arrow"):
        yield from _table(file, name)
        return
    with _open(file) as opened:
        if suffix == ".json":
            yield from _values(opened, name)
        else:
            yield from _lines(opened, name)


def _suffix(file: Path) -> str:
    return Path(file.stem).suffix if file.suffix == ".gz" else file.suffix


def _is_cache(file: Path) -> bool:
    """What `datasets` keeps beside a dataset that it saved: results of map() and filter()."""
    return file.suffix == ".arrow" and file.name.startswith("cache-")


def _open(file: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


def _table(file: Path, name: str) -> Iterator[Record]:
    import pyarrow

    from feedback.formats import parquet

    rows = parquet.read(file) if file.suffix == ".parquet" else _arrow(file)
    try:
        for number, row in enumerate(rows, start=1):
            yield Record(where=f"{name}:{number}", value=row)
    except pyarrow.ArrowInvalid as error:
        kind = "Parquet" if file.suffix == ".parquet" else "Arrow"
        raise BadRequest(f"{file} is no {kind} file: {error}") from None


def _arrow(file: Path) -> Iterator[Any]:
    """Of `save_to_disk`: a stream, not Arrow's file format."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as opened, pyarrow.ipc.open_stream(opened) as stream:
        for batch in stream:
            yield from batch.to_pylist()


def _lines(opened: gzip.GzipFile | BinaryIO, name: str) -> Iterator[Record]:
    number = 0
    try:
        while line := opened.readline(_MAX_LINE):
            number += 1
            if len(line) == _MAX_LINE:
                raise BadRequest(f"{name}:{number} is longer than {_MAX_LINE} bytes: no JSONL")
            if line.strip():
                yield _record(f"{name}:{number}", line)
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadRequest(f"{name} is no gzip file, or broken off: {error}") from None


def _record(where: str, line: bytes) -> Record:
    try:
        return Record(where=where, value=orjson.loads(line))
    except orjson.JSONDecodeError as error:
        return Record(where=where, problem=f"no JSON: {error}")


def _values(opened: gzip.GzipFile | BinaryIO, name: str) -> Iterator[Record]:
    """The items of one list, or values one after the other; never the whole file in memory."""
    decoder, number, start, buffer = json.JSONDecoder(), 0, 0, ""
    as_text = codecs.getincrementaldecoder("utf-8")("replace")
    is_over = False
    while True:
        start = _skip(buffer, start)
        try:
            value, start = decoder.raw_decode(buffer, start)
        except json.JSONDecodeError as error:
            if not is_over:
                more = opened.read(max(_CHUNK, 2 * (len(buffer) - start)))
                is_over = not more
                buffer, start = buffer[start:] + as_text.decode(more), 0
                continue
            if start < len(buffer):
                yield Record(where=f"{name}:item {number + 1}", problem=f"no JSON: {error.msg}")
            return
        number += 1
        yield Record(where=f"{name}:item {number}", value=value)


def _skip(buffer: str, start: int) -> int:
    """Past blanks, commas and the brackets of the list around everything."""
    while start < len(buffer) and buffer[start] in " \t\r\n,[]":
        start += 1
    return start
