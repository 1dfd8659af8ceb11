"""Judgements from a file, or a folder of files, into the log.

1. Everything is read and checked; each bad record is told with its place and the reason.
2. Unless all are good, or bad ones are to be skipped, nothing is written.
3. It is read again and written, answers before what was said about them. Ids come from the content: what is
   there already is not written again, and an import that was broken off is simply repeated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson
import redis

from feedback import eventlog
from feedback.errors import BadRequest, Unprocessable
from feedback.events import Event, Feedback
from feedback.formats import fine_tuning, label_studio, plain, transcripts
from feedback.formats.export import MANIFEST
from feedback.formats.records import Record, files_of, read
from feedback.formats.said import Bad, Passed, Said, Source, events_of

Format = Literal["auto", "hone", "jsonl", "hh-rlhf", "openai", "label-studio", "trl"]
Parse = Callable[[Mapping[str, Any]], Iterator[Said | Passed]]
_BATCH = 200  # judgements per round trip


@dataclass(kw_only=True)
class Report:
    """What came of it."""

    source: str
    digest: str  # SHA-256 of the file or files
    records: int = 0
    judgements: Counter[str] = field(default_factory=Counter)  # good ones, by form
    left_out: Counter[str] = field(default_factory=Counter)  # on purpose, by reason
    bad: int = 0
    added: int = 0  # judgements that were not in the log before
    already_there: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "judgements": dict(self.judgements),
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be imported, and how."""

    path: Path
    format: Format = "auto"
    tenant: str = "default"
    labeler: str | None = None  # who judged, where the file does not say
    buckets: Sequence[str] = ()  # of Label Studio's ranker, best first
    is_dry_run: bool = False
    skip_bad: bool = False


def run(client: redis.Redis, wish: Wish, *, on_bad: Callable[[str, str], None]) -> Report:
    """Import. `on_bad` is told the place and the reason of each bad record. Raises NotFound, BadRequest;
    Unprocessable if there were bad records, and then nothing was written."""
    files = _files(wish.path)
    report = Report(source=wish.path.name, digest=_digest(files))
    source = Source(
        name=wish.path.name,
        digest=report.digest,
        format=wish.format,
        tenant=wish.tenant,
        labeler=wish.labeler,
    )
    for events in _judgements(files, wish, source, report, on_bad):
        report.judgements[_judgement(events).form] += 1
    if report.bad and not wish.skip_bad:
        raise Unprocessable(
            f"{report.bad} of {report.records} records cannot be imported, so nothing was; mend them, or "
            "leave them out with --skip-bad"
        )
    if not wish.is_dry_run:
        again = Report(source=report.source, digest=report.digest)
        for batch in _batches(_judgements(files, wish, source, again, lambda *_: None)):
            added = _write(client, batch)
            report.added += added
            report.already_there += len(batch) - added
    return report


def _files(path: Path) -> list[tuple[Path, str]]:
    """Files with the names by which their records are told."""
    if not path.is_dir():
        return [(file, file.name) for file in files_of(path)]
    is_ours = _is_our_export(path)
    return [
        (file, str(file.relative_to(path)))
        for file in files_of(path)
        if not (is_ours and file.parent.name == "preference")  # follows from the rankings
    ]


def _is_our_export(folder: Path) -> bool:
    manifest = folder / MANIFEST
    try:
        return manifest.is_file() and orjson.loads(manifest.read_bytes()).get("format") == "hone"
    except (orjson.JSONDecodeError, AttributeError):
        return False


def _judgements(
    files: list[tuple[Path, str]],
    wish: Wish,
    source: Source,
    report: Report,
    on_bad: Callable[[str, str], None],
) -> Iterator[list[Event]]:
    """The events of each good judgement. Counts into the report."""
    for file, name in files:
        for record in read(file, name=name):
            report.records += 1
            try:
                for said in _parse(record, wish):
                    if isinstance(said, Passed):
                        report.left_out[said.reason] += 1
                    else:
                        yield events_of(said, source)
            except Bad as error:
                report.bad += 1
                on_bad(record.where, str(error))


def _parse(record: Record, wish: Wish) -> Iterator[Said | Passed]:
    """Raises Bad."""
    if record.problem is not None:
        raise Bad(record.problem)
    if not isinstance(record.value, dict):
        raise Bad("a record is an object")
    yield from _parser(record.value, wish)(record.value)


def _parser(value: Mapping[str, Any], wish: Wish) -> Parse:
    tasks = partial(label_studio.parse, buckets=wish.buckets)
    by_name: dict[str, Parse] = {
        **dict.fromkeys(("hone", "jsonl", "trl"), plain.parse),
        "hh-rlhf": transcripts.parse,
        "openai": fine_tuning.parse,
        "label-studio": tasks,
    }
    if wish.format != "auto":
        return by_name[wish.format]
    if label_studio.is_one(value):
        return tasks
    if transcripts.is_one(value):
        return transcripts.parse
    return fine_tuning.parse if fine_tuning.is_one(value) else plain.parse


def _batches(judgements: Iterator[list[Event]]) -> Iterator[list[list[Event]]]:
    batch: list[list[Event]] = []
    for events in judgements:
        batch.append(events)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(client: redis.Redis, batch: list[list[Event]]) -> int:
    """Durable when it returns. Returns how many judgements were new."""
    judgements = {_judgement(events).id: events for events in batch}
    there = eventlog.are_there(client, Feedback.kind, list(judgements))
    new = [
        event
        for event_id, events in judgements.items()
        if event_id not in there
        for event in events
    ]
    are_new = eventlog.append_all(client, new)
    return sum(
        is_new for event, is_new in zip(new, are_new, strict=True) if event.kind == Feedback.kind
    )


def _judgement(events: list[Event]) -> Feedback:
    (judgement,) = (event for event in events if isinstance(event, Feedback))
    return judgement


def _digest(files: list[tuple[Path, str]]) -> str:
    digest = hashlib.sha256()
    for file, _ in files:
        try:
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise BadRequest(f"{file} cannot be read: {error}") from None
    return digest.hexdigest()
