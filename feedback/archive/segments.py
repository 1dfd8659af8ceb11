"""One segment as Parquet: a row an event, with what finds it in columns, and all of it as its JSON.

The JSON is as it was written, whatever its schema: `events.decode` upgrades it when it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feedback.events import Position, made_at

_SCHEMA = pa.schema(
    [
        ("ms", pa.int64()),  # the entry id, in two numbers
        ("seq", pa.int64()),
        ("id", pa.string()),
        ("kind", pa.string()),
        ("schema", pa.int16()),
        ("created", pa.float64()),
        ("tenant", pa.string()),
        ("end_user", pa.string()),  # of a completion
        ("labeler", pa.string()),  # of a judgement
        ("event", pa.string()),  # JSON
    ]
)
_NAMED = ("id", "schema", "created", "tenant", "end_user", "labeler")  # taken out of the JSON
_ALIKE = ["kind", "tenant", "end_user", "labeler"]  # as a dictionary, the others as they are
_GROUP_EVENTS = 5_000  # rows that are read at a time, and held while writing
_GROUP_BYTES = 8_000_000  # of their JSON
_LEVEL = 3  # of zstd
_BATCH = 500
_TIMELY_S = 3_600.0  # an id that says it was made within so long of its event holds a time


@dataclass(frozen=True, kw_only=True)
class Row:
    """An archived event, not decoded."""

    position: Position
    id: str
    data: bytes  # JSON

    @property
    def entry(self) -> str:
        return f"{self.position[0]}-{self.position[1]}"


class Writer:
    """Rows into a Parquet file, with no more in memory than one row group."""

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self._kind = kind
        self._writer = pq.ParquetWriter(
            file,
            _SCHEMA,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=_ALIKE,
            write_statistics=["ms", "id"],
        )
        self._rows: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
        self._num_bytes = 0
        self.num_events = 0
        self.event_bytes = 0
        self.schemas: set[int] = set()
        self.made: list[float] | None = None
        self.other_ids = 0

    def add(self, row: Row, fields: Mapping[str, Any]) -> None:
        """`fields`: the event's JSON, read."""
        columns = {name: fields.get(name) for name in _NAMED} | {
            "ms": row.position[0],
            "seq": row.position[1],
            "kind": self._kind,
            "event": row.data,
        }
        for name, value in columns.items():
            self._rows[name].append(value)
        self._count(fields, len(row.data))
        if len(self._rows["id"]) >= _GROUP_EVENTS or self._num_bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """The rest, and the footer."""
        self._flush()
        self._writer.close()

    def _count(self, fields: Mapping[str, Any], num_bytes: int) -> None:
        self.num_events += 1
        self.event_bytes += num_bytes
        self._num_bytes += num_bytes
        self.schemas.add(fields["schema"])
        made = made_at(fields["id"])
        if made is None or abs(made - fields["created"]) > _TIMELY_S:
            self.other_ids += 1
        else:
            low, high = self.made or (made, made)
            self.made = [min(low, made), max(high, made)]

    def _flush(self) -> None:
        if self._rows["id"]:
            arrays = [pa.array(self._rows[field.name], field.type) for field in _SCHEMA]
            self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
            self._rows = {name: [] for name in _SCHEMA.names}
            self._num_bytes = 0


def rows(file: IO[bytes], *, after: Position, until: Position) -> Iterator[Row]:
    """The rows in a range: `after` exclusive, `until` inclusive. Holds a row group in memory."""
    parquet = pq.ParquetFile(file, pre_buffer=False)
    for group in range(parquet.num_row_groups):
        low, high = _bounds(parquet, group, "ms")
        if high < after[0] or low > until[0]:
            continue
        columns = ["ms", "seq", "id", "event"]
        for batch in parquet.iter_batches(
            _BATCH, row_groups=[group], columns=columns, use_threads=False
        ):
            taken = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            for ms, seq, event_id, event in taken:
                if after < (ms, seq) <= until:
                    yield Row(position=(ms, seq), id=event_id, data=event.encode())


def ids(file: IO[bytes]) -> Iterator[str]:
    """The ids of all rows, and nothing else of them."""
    parquet = pq.ParquetFile(file, pre_buffer=False)
    for batch in parquet.iter_batches(10_000, columns=["id"], use_threads=False):
        yield from batch.column("id").to_pylist()


def find(file: IO[bytes], wanted: Collection[str]) -> Iterator[Row]:
    """The rows of these ids, looking only where they can be."""
    parquet = pq.ParquetFile(file, pre_buffer=False)
    for group in range(parquet.num_row_groups):
        low, high = _bounds(parquet, group, "id")
        possible = [event_id for event_id in wanted if low <= event_id <= high]
        if not possible:
            continue
        found = parquet.read_row_group(group, columns=["id"], use_threads=False)
        places = pc.is_in(found.column("id"), pa.array(possible, pa.string()))
        if not pc.any(places).as_py():
            continue
        whole = parquet.read_row_group(
            group, columns=["ms", "seq", "id", "event"], use_threads=False
        )
        for row in whole.filter(places).to_pylist():
            position = (row["ms"], row["seq"])
            yield Row(position=position, id=row["id"], data=row["event"].encode())


def of_people(file: IO[bytes], *, tenant: str) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Entry id, event id, end user and labeler of the rows of a tenant."""
    parquet = pq.ParquetFile(file, pre_buffer=False)
    columns = ["ms", "seq", "id", "tenant", "end_user", "labeler"]
    for batch in parquet.iter_batches(10_000, columns=columns, use_threads=False):
        taken = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        for ms, seq, event_id, of, end_user, labeler in taken:
            if of == tenant:
                yield f"{ms}-{seq}", event_id, end_user, labeler


def _bounds(parquet: pq.ParquetFile, group: int, column: str) -> tuple[Any, Any]:
    index = _SCHEMA.get_field_index(column)
    statistics = parquet.metadata.row_group(group).column(index).statistics
    return statistics.min, statistics.max
