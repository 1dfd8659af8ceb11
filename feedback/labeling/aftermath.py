"""What a judgement changes besides the log: queues, the labeler's screening, what can be undone.

The judgement is safe by then; where Redis is away these are left undone, and a set may be shown once more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
import redis
import redis.asyncio.client

from feedback import keys
from feedback.corrections import Correction
from feedback.errors import NotFound
from feedback.events import Completion, Feedback
from feedback.journal import Journal
from feedback.judgements import (
    Comment,
    Comparison,
    Demonstration,
    Judgement,
    Ranking,
    Rating,
    aspects,
    body_of,
)
from feedback.labeling.assignments import Assignments
from feedback.labeling.given import Given, load, visible_choices
from feedback.labeling.known_answers import agreement
from feedback.labeling.labelers import Labelers
from feedback.labeling.queues import Task, add_leaving
from feedback.ranks import ranks_of

log = logging.getLogger(__name__)

_NUM_UNDOABLE, _UNDOABLE_S = 10, 86_400
_COUNTED_S = 2 * 86_400  # how long an hour's count is kept
_REMEMBERED_S = 30 * 86_400  # how long a judgement is known as the one that a later one replaces


class Aftermath:
    """One per gateway process."""

    def __init__(self, journal: Journal, assignments: Assignments, labelers: Labelers) -> None:
        self._journal = journal
        self._redis = journal.redis
        self._assignments = assignments
        self._labelers = labelers

    async def find(self, assignment_id: str, *, labeler: str) -> Given:
        """Raises NotFound, redis.ConnectionError."""
        return await self._assignments.find(assignment_id, labeler=labeler)

    async def of_judgement(
        self,
        event: Feedback,
        judgement: Judgement,
        given: Given | None,
        completions: Mapping[str, Completion],
    ) -> None:
        """Never raises: the judgement is in the log."""
        pipe = self._redis.pipeline(transaction=False)  # one round trip for all of it
        if event.source != "end_user":
            hour = keys.judged_in(event.created)
            pipe.incr(hour)
            pipe.expire(hour, _COUNTED_S)
        if (same := last_judgement(event.labeler, judgement)) is not None:
            pipe.set(same, event.id, ex=_REMEMBERED_S)
        for task, completion_id in _entries(judgement, given, completions):
            add_leaving(
                pipe,
                task,
                completion_id,
                labeler=event.labeler,
                tenant=event.tenant,
                has_judged=True,
            )
        if given is not None and not given.is_known:  # a test is not taken twice
            self._add_undoable(pipe, event, given)
        try:
            await pipe.execute()
            if given is not None and (given.is_known or given.completion_id is None):
                await self._assignments.let_go(given)
            if given is not None and given.is_known:
                await self._screen(event, given)
        except (redis.RedisError, OSError, NotFound) as error:
            log.warning("what was judged may be shown again: %s: %s", event.completion_ids, error)

    async def of_skip(self, given: Given) -> None:
        """Never raises."""
        try:
            await self._assignments.skip(given)
        except (redis.RedisError, OSError) as error:
            log.warning("what was skipped may be shown again: %s: %s", given.id, error)

    async def last_undoable(self, labeler: str) -> tuple[Feedback, Given] | None:
        """Take the newest off the list. None: there is none, or a snapshot has used it."""
        while (data := await self._pop(labeler)) is not None:
            entry = orjson.loads(data)
            said = await self._journal.get(Feedback.kind, entry["feedback_id"])
            if not isinstance(said, Feedback) or await self._is_used(said):
                continue
            return said, load(orjson.dumps(entry["given"]))
        return None

    async def give_again(self, said: Feedback, given: Given) -> None:
        """The labeler has taken it back and will judge it anew."""
        await self._assignments.reopen(given)

    async def _screen(self, event: Feedback, given: Given) -> None:
        if event.source != "labeler" or event.form not in ("ranking", "comparison"):
            return
        known = await self._assignments.known.get(str(given.completion_id))
        if known is None:
            return
        refs, ranks = ranks_of(event)
        said = {index: rank for (_, index), rank in zip(refs, ranks, strict=True)}
        agreed, pairs = agreement(known.ranks, said)
        await self._labelers.record_screened(event.labeler, agreed=agreed, pairs=pairs)

    @staticmethod
    def _add_undoable(pipe: redis.asyncio.client.Pipeline, event: Feedback, given: Given) -> None:
        name = keys.undoable(event.labeler)
        pipe.lpush(name, orjson.dumps({"feedback_id": event.id, "given": asdict(given)}))
        pipe.ltrim(name, 0, _NUM_UNDOABLE - 1)
        pipe.expire(name, _UNDOABLE_S)

    async def _pop(self, labeler: str) -> bytes | None:
        reply: Any = self._redis.lpop(keys.undoable(labeler))
        data: bytes | None = await reply
        return data

    async def _is_used(self, said: Feedback) -> bool:
        """Whether a snapshot has it. What is archived is old enough to be in one."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(keys.index(Feedback.kind), said.id)
        pipe.get(keys.JUDGEMENTS_TRAINED)
        entry, trained = await pipe.execute()
        if trained is None:
            return False
        return entry is None or _position(entry) <= _position(trained)


def last_judgement(labeler: str, judgement: Judgement) -> str | None:
    """Redis key of a person's last judgement on the same; ranking and comparing two answers is the same.
    None where every one counts."""
    if isinstance(judgement, Comment | Correction):
        return None
    form = "order" if isinstance(judgement, Ranking | Comparison) else judgement.form
    about = sorted((answer.completion_id, answer.index) for answer in judgement.about())
    if not about and isinstance(judgement, Demonstration):
        about = [(message.role + message.content, 0) for message in judgement.messages]
    stated = aspects(body_of(judgement)) if isinstance(judgement, Rating) else []
    what = hashlib.sha256(orjson.dumps([form, about, *stated])).hexdigest()[:32]
    return keys.judged(labeler, what)


def _entries(
    judgement: Judgement, given: Given | None, completions: Mapping[str, Completion]
) -> list[tuple[Task, str]]:
    """What the labeler is done with."""
    if given is not None:
        is_queued = not given.is_known and given.completion_id is not None
        return [(given.task, str(given.completion_id))] if is_queued else []
    if not _is_whole(judgement, completions):
        return []
    return [(task, name) for name in completions for task in _tasks(judgement)]


def _tasks(judgement: Judgement) -> tuple[Task, ...]:
    if isinstance(judgement, Ranking | Comparison):
        return ("rank", "compare")
    if isinstance(judgement, Rating):
        return ("rate",)
    return ("demonstrate",) if isinstance(judgement, Demonstration) else ()


def _is_whole(judgement: Judgement, completions: Mapping[str, Completion]) -> bool:
    """Whether all answers that can be shown were judged, not only some of them."""
    if not isinstance(judgement, Ranking | Comparison):
        return True
    shown = sum(len(visible_choices(completion)) for completion in completions.values())
    return len(judgement.about()) >= shown


def _position(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.decode().partition("-")
    return int(milliseconds), int(number or 0)
