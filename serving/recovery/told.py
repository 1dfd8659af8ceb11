"""What the log, or what is left of it, says of numbers that were given out and of what was live.

Numbers are believed wherever they stand, also in an archive whose marks in Redis are lost. What was live last is
believed only of a log that reaches past the newest publication: an older one may lack a rollback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis

from feedback.archive.reader import Archive
from feedback.events import Audit, Event, RoundChanged, encode
from feedback.history import History
from feedback.settings import FeedbackSettings
from serving.lineage import deployments
from serving.lineage.deployments import Change
from serving.recovery.found import Counted, highest

_END = f"{2**62}-0"


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that the log says."""

    numbers: Mapping[Counted, int]
    changes: tuple[Change, ...]
    ended: frozenset[str]  # rounds whose end is in the log that Redis has
    is_empty: bool  # no change of an operator and no round is in it


def ask(client: redis.Redis, settings: FeedbackSettings) -> Told:
    """Raises OSError while the archive's store is away: its numbers would be missing."""
    audits = [each for each in _read(client, Audit.kind) if isinstance(each, Audit)]
    rounds = [each for each in _read(client, RoundChanged.kind) if isinstance(each, RoundChanged)]
    archive = Archive.of(settings)
    events: list[Event] = [*audits, *rounds]
    texts = [encode(event).decode() for event in events]
    texts += [
        row.data.decode()
        for kind in (Audit.kind, RoundChanged.kind)
        for row in archive.read(kind, until=_END)
    ]
    return Told(
        numbers=highest(texts),
        changes=tuple(_changes(audits)),
        ended=frozenset(each.round_id for each in rounds if each.what == "finished"),
        is_empty=not audits and not rounds,
    )


def _read(client: redis.Redis, kind: str) -> Iterator[Event]:
    return (event for _, event in History(client).read(kind))


def _changes(audits: Sequence[Audit]) -> Iterator[Change]:
    for event in audits:
        change = deployments.change_of(event)
        if change is not None:
            yield change
