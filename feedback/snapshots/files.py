"""Files of a snapshot: written whole or not at all, with the SHA-256 of each."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the manifest says of a file."""

    sha256: str
    bytes: int
    rows: int


class Rows:
    """JSON lines, one after the other; the file has its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_suffix(path.suffix + ".partial")
        self._file = self._partial.open("wb", buffering=1 << 20)
        self._digest = hashlib.sha256()
        self._num_bytes = 0
        self._num_rows = 0

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            _close(self._file, self._partial, self._path)
        else:
            self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        self._digest.update(line)
        self._num_bytes += len(line)
        self._num_rows += 1
        self._file.write(line)

    @property
    def written(self) -> dict[str, Any]:
        digest = self._digest.hexdigest()
        return asdict(Written(sha256=digest, bytes=self._num_bytes, rows=self._num_rows))


def write_json(path: Path, value: Any) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    file = partial.open("wb")
    file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    _close(file, partial, path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _close(file: Any, partial: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    partial.chmod(0o444)  # a snapshot does not change
    partial.rename(path)
