"""Snapshots, rounds and versions as a graph: from the registry's records and the names of folders.

No file is read for it, so that it costs little however many versions there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from moderation.versions import ModerationRecord
from serving.lineage.graph import Edge, Key
from serving.registry import PolicyRecord

Records = Mapping[str, PolicyRecord | ModerationRecord]


def snapshots(data_dir: Path) -> list[Path]:
    """Of rounds, and made by hand."""
    return sorted([*data_dir.glob("rounds/*/snapshot"), *data_dir.glob("snapshots/*")])


def snapshot_key(data_dir: Path, folder: Path) -> Key:
    """Named by where it lies in the data folder."""
    return Key("snapshot", str(folder.relative_to(data_dir)))


def edges(data_dir: Path, records: Records) -> list[Edge]:
    """Every snapshot, round and version that has to do with another."""
    rounds = {folder.name for folder in data_dir.glob("rounds/*") if folder.is_dir()}
    rounds |= {record.round_id for record in records.values() if record.round_id is not None}
    return [*_of_rounds(rounds), *_of_versions(records.values())]


def _of_rounds(rounds: Iterable[str]) -> Iterator[Edge]:
    for round_id in sorted(rounds):
        snapshot = Key("snapshot", f"rounds/{round_id}/snapshot")
        yield Edge(source=snapshot, target=Key("round", round_id), what="trained in")


def _of_versions(records: Iterable[PolicyRecord | ModerationRecord]) -> Iterator[Edge]:
    for record in records:
        version = Key("version", record.version)
        if record.round_id is not None:
            yield Edge(source=Key("round", record.round_id), target=version, what="made")
        if record.parent is not None:
            yield Edge(source=Key("version", record.parent), target=version, what="trained on as")
