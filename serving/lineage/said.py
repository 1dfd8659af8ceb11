"""Answers, judgements and people in the log, as lineage asks for them. Archive and Redis alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

import orjson
import redis

from feedback import eventlog, keys
from feedback.archive import marks
from feedback.events import Completion, Feedback, position
from feedback.history import History

Missing = Literal["erased", "unknown", "away"]

_SLACK_MS = 60_000  # between the clock of a gateway and that of Redis


@dataclass(frozen=True, kw_only=True)
class Words:
    """All that an end user asked and said, and what others said about it: ids."""

    completions: set[str] = field(default_factory=set)
    judgements: set[str] = field(default_factory=set)  # theirs
    about: set[str] = field(default_factory=set)  # others', about their completions


class Log:
    """Raises OSError while the archive's store is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._history = History(client)

    def completion(self, completion_id: str) -> Completion | Missing:
        """An answer, or why there is none."""
        try:
            found = self._history.get(Completion.kind, completion_id)
        except OSError:
            return "away"
        return (
            found
            if isinstance(found, Completion)
            else self._why_none(Completion.kind, completion_id)
        )

    def judgement(self, feedback_id: str) -> Feedback | Missing:
        """A judgement, or why there is none."""
        try:
            found = self._history.get(Feedback.kind, feedback_id)
        except OSError:
            return "away"
        return found if isinstance(found, Feedback) else self._why_none(Feedback.kind, feedback_id)

    def judgements_about(self, completion: Completion) -> list[Feedback]:
        """All that was said about an answer. Reads what came into the log after it."""
        after_ms = max(0, int(completion.created * 1e3) - _SLACK_MS)
        return [
            event
            for event in self._feedback(after=f"{after_ms}-0", holding=completion.id.encode())
            if completion.id in event.completion_ids
        ]

    def words_of(self, *, tenant: str, user: str) -> Words:
        """Reads the whole log: of what is archived the columns that say whose it is."""
        found = Words(completions=set(self._completions_of(tenant, user)))
        for event in self._feedback(after="-"):
            if event.tenant != tenant:
                continue
            if event.source != "labeler" and event.labeler == user:
                found.judgements.add(event.id)
            elif not found.completions.isdisjoint(event.completion_ids):
                found.about.add(event.id)
        return found

    def _why_none(self, kind: str, event_id: str) -> Missing:
        place = marks.where(self._redis, kind, event_id)
        return "erased" if place is not None and eventlog.is_erased(place) else "unknown"

    def _completions_of(self, tenant: str, user: str) -> Iterator[str]:
        kind = Completion.kind
        through = marks.through(self._redis, kind)
        if through is not None:
            due = cast("dict[bytes, bytes]", self._redis.hgetall(keys.ERASE_DUE))
            erased = marks.due_ids(due, kind)
            yield from self._archived(tenant, user, through, without=erased)
        named = orjson.dumps(user)  # as events are encoded
        for _, event in self._history.read(kind, after=through or "-", holding=named):
            if isinstance(event, Completion) and (event.tenant, event.end_user) == (tenant, user):
                yield event.id

    def _archived(
        self, tenant: str, user: str, through: str, *, without: Collection[str]
    ) -> Iterator[str]:
        from feedback.archive.segments import of_people  # loads pyarrow

        archive = self._history.archive
        for segment in archive.segments(Completion.kind):
            if segment.file is None or position(segment.last) > position(through):
                continue
            with archive.store.opened(segment.file) as file:
                for _, event_id, end_user, _ in of_people(file, tenant=tenant):
                    if end_user == user and event_id not in without:
                        yield event_id

    def _feedback(self, *, after: str, holding: bytes = b"") -> Iterator[Feedback]:
        for _, event in self._history.read(Feedback.kind, after=after, holding=holding):
            assert isinstance(event, Feedback)
            yield event
