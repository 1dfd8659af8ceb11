"""Erases an end user, or a whole tenant: what they asked and were answered, what they said, and what
others said about it.

1. A tombstone: what the user did before this moment, and waits in some gateway's outbox, is dropped when
   it comes (eventlog). 2. Nobody archives meanwhile, and what a
   killed archiver left is removed. 3. Their completions, then judgements: theirs, and
   those about their completions that hold words; a ranking without words stays, its answers are gone.
4. Kept answers, known answers, the archive's files, the gateways' memory, Redis' own files.

Repeating it is harmless, and finishes what a killed one began. Nothing in its report is a text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import redis

from feedback import eventlog, keys, removal
from feedback.archive import marks
from feedback.archive.archiver import Archiver
from feedback.archive.lease import Lease
from feedback.archive.purge import purge, remove_leftovers
from feedback.archive.reader import Archive
from feedback.archive.segments import of_people
from feedback.erasure import redis_files
from feedback.erasure.requests import bury
from feedback.errors import Conflict, Unavailable
from feedback.eventlog import ERASED_WITH_ALL
from feedback.events import Completion, Event, Feedback, position, quotes
from feedback.history import History
from feedback.settings import FeedbackSettings

_WAIT_S = 120.0  # for an archiver that runs just now
_ATTEMPTS = 20
_ID = re.compile(rb'"id":"((?:chatcmpl|cmpl)-[0-9a-z]{26})"')


@dataclass
class Erased:
    """What was removed: ids and counts, no names and no texts."""

    person: str  # as `eventlog.owner` has it
    completions: set[str] = field(default_factory=set)  # ids, those of an earlier attempt included
    judgements: set[str] = field(default_factory=set)  # ids of those removed
    about: set[str] = field(default_factory=set)  # of those that stay, about the completions
    kept_answers: int = 0  # for an Idempotency-Key
    left_archive: int = 0  # events
    files: dict[str, str] = field(default_factory=dict)  # what became of Redis' own

    def counts(self) -> dict[str, Any]:
        return {
            "completions": len(self.completions),
            "judgements": len(self.judgements),
            "kept_answers": self.kept_answers,
            "left_archive": self.left_archive,
            "redis_files": self.files,
        }


def erase(
    client: redis.Redis,
    archive: Archive,
    settings: FeedbackSettings,
    *,
    tenant: str,
    user: str | None,
) -> Erased:
    """`user` None: everybody's of this tenant, and all that was said there. Returns when no byte of it is
    left in Redis, in its files and in the archive. Raises Conflict while an archiver does not end,
    OSError, redis.RedisError; then do it again."""
    person = eventlog.owner(tenant, user)
    bury(client, person)
    lease = _acquire(client)
    try:
        archiver = Archiver(client, archive, settings)
        for kind in (Completion.kind, Feedback.kind):
            archiver.recover(kind, lease)
            remove_leftovers(archive, kind, lease, now=time.time())
        work = _Erasure(client, archive, lease, tenant=tenant, user=user)
        work.completions()
        work.judgements()
        work.kept_answers()
        work.done.left_archive = purge(client, archive, lease, now=time.time())
    finally:
        lease.release()
    client.xadd(keys.ERASURES, {"all": person}, maxlen=removal.ERASURES_KEPT, approximate=True)
    work.done.files = redis_files.rewrite(client)
    return work.done


class _Erasure:
    """One run, under the archive's lease: nothing moves from Redis to the archive."""

    def __init__(
        self, client: redis.Redis, archive: Archive, lease: Lease, *, tenant: str, user: str | None
    ) -> None:
        self._redis = client
        self._archive = archive
        self._lease = lease
        self._tenant, self._user = tenant, user
        self.done = Erased(person=eventlog.owner(tenant, user))

    def completions(self) -> None:
        """In Redis, and in the archive; of an earlier attempt the marks are left."""
        for _, event in eventlog.read(self._redis, Completion.kind):
            if isinstance(event, Completion) and self._is_theirs(event.tenant, event.end_user):
                self._lease.hold()
                self._erase(event)
                self.done.completions.add(event.id)
        archived = {
            event_id: entry
            for entry, event_id, end_user in self._archived(Completion.kind)
            if self._is_theirs(self._tenant, end_user)
        }
        self._erase_archived(Completion.kind, archived)
        self.done.completions |= archived.keys()

    def judgements(self) -> None:
        """What they said, and what was said about their completions in words."""
        through = marks.through(self._redis, Feedback.kind)
        archived: dict[str, str] = {}
        erased_before = self._marked()
        for entry, event in History(self._redis, self._archive).read(Feedback.kind):
            judgement = cast(Feedback, event)
            if judgement.tenant != self._tenant:
                continue
            is_theirs = self._user is None or (
                judgement.source != "labeler" and judgement.labeler == self._user
            )
            about = set(judgement.completion_ids)
            is_about = bool(about & self.done.completions)
            if not (is_theirs or is_about or about & erased_before):
                continue
            self._lease.hold()
            if not (is_theirs or quotes(judgement.body)):
                self.done.about |= {judgement.id} if is_about else set()
                continue
            self.done.judgements.add(judgement.id)
            if through is not None and position(entry) <= position(through):
                archived[judgement.id] = entry
            else:
                self._erase(judgement)
        self._erase_archived(Feedback.kind, archived)

    def kept_answers(self) -> None:
        """Answers that are kept for an Idempotency-Key, and known answers."""
        ids = self.done.completions
        for name in self._redis.scan_iter(f"{keys.PREFIX}idem:*", count=1_000):
            body = cast("bytes | None", self._redis.hget(name, "body"))
            if body and ids & {found.decode() for found in _ID.findall(body)}:
                self.done.kept_answers += int(self._redis.delete(name))
        for some in removal.batched(ids, 500):
            self._redis.hdel(keys.KNOWN_ANSWERS, *some)
            self._redis.hdel(keys.STORED_METADATA, *some)
            self._redis.delete(*(keys.replays(event_id) for event_id in some))

    def _is_theirs(self, tenant: str, end_user: str | None) -> bool:
        return tenant == self._tenant and self._user in (None, end_user)

    def _erase(self, event: Event) -> None:
        """Again if its metadata is replaced at this very moment: the lists follow from it."""
        for _ in range(_ATTEMPTS):
            replaced = cast("bytes | None", self._redis.hget(keys.STORED_METADATA, event.id)) or b""
            listed = event
            if isinstance(event, Completion) and replaced:
                listed = removal.with_metadata(event, orjson.loads(replaced))
            if removal.erase(
                self._redis,
                listed,
                ERASED_WITH_ALL,
                replaced_metadata=replaced,
                archived_entry="",
            ):
                return
            if marks.where(self._redis, event.kind, event.id) in (b"erased", ERASED_WITH_ALL):
                return
        raise Unavailable(f"{event.id} is changed by others again and again; erase once more")

    def _archived(self, kind: str) -> Iterator[tuple[str, str, str | None]]:
        """Entry id, event id and end user of what the archive has of this tenant."""
        for segment in self._archive.segments(kind):
            self._lease.hold()
            if segment.file is not None:
                with self._archive.store.opened(segment.file) as file:
                    for entry, event_id, end_user, _ in of_people(file, tenant=self._tenant):
                        yield entry, event_id, end_user

    def _erase_archived(self, kind: str, entries: dict[str, str]) -> None:
        self._lease.renew()
        removal.erase_archived(self._redis, kind, entries, ERASED_WITH_ALL)

    def _marked(self) -> set[str]:
        """Completions whose erasure took all that was said about them, in this run or before."""
        found = self._redis.hscan_iter(keys.index(Completion.kind), count=1_000)
        return {name.decode() for name, entry in found if entry == ERASED_WITH_ALL}


def _acquire(client: redis.Redis) -> Lease:
    deadline = time.monotonic() + _WAIT_S
    while (lease := Lease.acquire(client)) is None:
        if time.monotonic() > deadline:
            raise Conflict(
                "the archiver does not end; `hone log stats` shows where it is; try again"
            )
        time.sleep(0.2)
    return lease
