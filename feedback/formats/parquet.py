"""Rows as Parquet files, a row group at a time. Loads pyarrow: for commands and workers only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feedback.formats.rows import Config, Row

_ROW_GROUP = 500  # rows in memory per file; an answer may have 100 kB

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_FLAGS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.bool_())]))
_TAGS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
_METRICS = pa.list_(
    pa.struct([("name", pa.string()), ("value", pa.float64()), ("is_boolean", pa.bool_())])
)
_COMPLETIONS = pa.list_(
    pa.struct(
        [
            ("rank", pa.int64()),
            ("completion", _MESSAGES),
            ("likert", pa.int64()),
            ("flags", _FLAGS),
            ("origin", pa.string()),
            ("version", pa.string()),
        ]
    )
)
_SAID = [
    ("labeler", pa.string()),
    ("created", pa.float64()),
    ("duration_ms", pa.int64()),
    ("note", pa.string()),
    ("tags", _TAGS),
    ("endpoint", pa.string()),
    ("person", pa.string()),
]
SCHEMAS: dict[Config, pa.Schema] = {
    "preference": pa.schema(
        [
            ("prompt", _MESSAGES),
            ("chosen", _MESSAGES),
            ("rejected", _MESSAGES),
            ("margin", pa.float64()),
            ("ranking_id", pa.string()),
            ("labeler", pa.string()),
            ("person", pa.string()),
        ]
    ),
    "rankings": pa.schema(
        [
            ("id", pa.string()),
            ("context", _MESSAGES),
            ("completions", _COMPLETIONS),
            ("form", pa.string()),
            ("preference", pa.int64()),
            ("all_bad", pa.bool_()),
            ("shown_order", pa.list_(pa.string())),
            *_SAID,
        ]
    ),
    "demonstrations": pa.schema(
        [("id", pa.string()), ("messages", _MESSAGES), ("parent", pa.string()), *_SAID]
    ),
    "ratings": pa.schema(
        [
            ("id", pa.string()),
            ("messages", _MESSAGES),
            ("likert", pa.int64()),
            ("thumb", pa.string()),
            ("flags", _FLAGS),
            ("metrics", _METRICS),
            ("ranking_id", pa.string()),
            ("origin", pa.string()),
            ("version", pa.string()),
            *_SAID,
        ]
    ),
}


class Part:
    """One file being written. It is whole, and on disk, when the block ends without an error; without
    rows there is none, since `datasets` opens no empty split."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.num_rows = 0
        self._rows: list[Row] = []
        self._schema = SCHEMAS[config]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
        if self.num_rows == 0:
            self.path.unlink()
            return
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self.num_rows += 1
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, in order. Raises pyarrow.ArrowInvalid where it is none."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROW_GROUP):
            yield from batch.to_pylist()
