"""Which segments there are. A segment counts once its manifest is there; a manifest is written once.

    completions/00000007.0001-12-5f2c….parquet    the events
    completions/00000007.0001.json                the manifest: segment 7, as it was first written
    completions/00000007.0002.json                segment 7 without what was erased since; it counts now

Whoever is second to write a number, or a revision, is refused by the store itself. So what a process
that thought it had the lease leaves behind is garbage as soon as its number is taken.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass, replace

import orjson

from feedback.archive.store import Store
from feedback.errors import Conflict

_NAME = re.compile(r"(\d{8})\.(\d{4})([.-]).*")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A manifest. Written by the archiver, and again, as the next revision, by whoever erases."""

    kind: str
    number: int  # from 1, without gaps
    revision: int  # from 1; the highest counts
    after: str  # entry id of the last event before it, "0-0" for none
    last: str  # entry id of its last event; `after`, if it never held any
    file: str | None  # its Parquet; None: it holds nothing
    events: int
    file_bytes: int
    event_bytes: int  # JSON, before compression
    schemas: list[int]  # of its events, as they were written
    made: list[float] | None  # earliest and latest time within its events' ids, unix seconds
    other_ids: int  # how many ids hold no time, like those from an Idempotency-Key
    created: float  # unix seconds
    fence: int  # of the lease that wrote it

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.number:08d}.{self.revision:04d}.json"


class LostRace(Conflict):
    """Another process has written this segment, or this revision of it."""


def new_file(kind: str, number: int, revision: int, *, fence: int) -> str:
    """A name that no other process takes, whatever it believes."""
    return f"{kind}/{number:08d}.{revision:04d}-{fence}-{secrets.token_hex(6)}.parquet"


class Manifests:
    """Of one kind of event. What was read once is kept: a manifest never changes."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._known: dict[str, Segment] = {}

    def load(self) -> list[Segment]:
        """The segments that count now, in order. Raises OSError."""
        names = [name for name in self._store.names(self._kind) if name.endswith(".json")]
        newest: dict[int, Segment] = {}
        for name in names:
            segment = self._known.get(name) or self._read(name)
            if segment is not None and segment.revision >= _revision(newest.get(segment.number)):
                newest[segment.number] = segment
        self._known = {segment.name.rpartition("/")[2]: segment for segment in newest.values()}
        return [newest[number] for number in sorted(newest)]

    def commit(self, segment: Segment) -> None:
        """From now on it counts. Raises LostRace, OSError."""
        try:
            self._store.put_once(segment.name, orjson.dumps(asdict(segment)))
        except FileExistsError:
            raise LostRace(f"{segment.name} is there already: another process archives") from None

    def barrier(self, before: Segment | None, *, now: float, fence: int) -> Segment:
        """A segment of nothing, that takes the next number: what any other process still writes for
        it can be removed. Raises LostRace, OSError."""
        last = before.last if before is not None else "0-0"
        segment = Segment(
            **{name: 0 for name in ("events", "file_bytes", "event_bytes", "other_ids")},
            kind=self._kind,
            number=before.number + 1 if before is not None else 1,
            revision=1,
            after=last,
            last=last,
            file=None,
            schemas=[],
            made=None,
            created=now,
            fence=fence,
        )
        self.commit(segment)
        return segment

    def remove_garbage(self, segments: list[Segment]) -> list[str]:
        """Remove what can count no more: old revisions, and what killed or late processes left.

        What has the next number, or the next revision, may be on its way and stays."""
        current = {segment.number: segment for segment in segments}
        keep = {segment.name for segment in segments} | {segment.file for segment in segments}
        removed = []
        # Manifests first: a file that one of them names must be there.
        names = self._store.names(self._kind)
        for name in sorted(names, key=lambda name: not name.endswith(".json")):
            path = f"{self._kind}/{name}"
            version, segment = _version(name), None
            if version is not None:
                segment = current.get(version[0])
            if version is None or segment is None or path in keep:
                continue
            if version <= (segment.number, segment.revision):
                self._store.remove(path)
                removed.append(path)
        return removed

    def _read(self, name: str) -> Segment | None:
        try:
            return Segment(**orjson.loads(self._store.read(f"{self._kind}/{name}")))
        except FileNotFoundError:
            return None  # an old revision, removed since the names were read


def revised(segment: Segment, *, file: str | None, now: float, fence: int) -> Segment:
    """The next revision of a segment, which holds what is left of it in another file."""
    number = segment.revision + 1
    return replace(segment, revision=number, file=file, created=now, fence=fence)


def _revision(segment: Segment | None) -> int:
    return segment.revision if segment is not None else 0


def _version(name: str) -> tuple[int, int] | None:
    """Number and revision that a file's name says it belongs to."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None
