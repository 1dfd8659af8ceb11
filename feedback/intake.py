"""A judgement is checked against what it is about, and put into the log, once.

1. Every answer it names exists, was shown, and is the caller's to judge; all answer one prompt.
2. The event's id comes from the `Idempotency-Key`, so that sending twice is writing once.
3. Once it is durable the candidate set leaves the labeling queue.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from dataclasses import dataclass

import redis

from feedback.assignments import Assignments, visible_choices
from feedback.errors import NotFound, Unprocessable
from feedback.events import Completion, Feedback, new_id
from feedback.journal import AWAY, Journal
from feedback.judgements import Candidate, Comparison, Judgement, Ranking, body_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a judgement, as the gateway knows them."""

    key_id: str
    tenant: str
    is_labeler: bool  # may judge every answer of the tenant, not only the key's own


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the sender is told. The event is durable by then."""

    event: Feedback
    is_replay: bool  # the same was sent before


class Intake:
    """One per gateway process."""

    def __init__(self, journal: Journal, assignments: Assignments) -> None:
        self._journal = journal
        self._assignments = assignments

    async def accept(
        self, judgement: Judgement, caller: Caller, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Raises NotFound, Unprocessable; redis.ConnectionError when only Redis could know."""
        completions = await self._look_up(judgement, caller)
        event = Feedback(
            id=_event_id(caller, idempotency_key),
            created=time.time(),
            form=judgement.form,
            labeler=judgement.labeler or caller.key_id,
            tenant=caller.tenant,
            completion_ids=list(completions),
            body=body_of(judgement),
        )
        if idempotency_key is not None and (first := await self._sent_before(event)):
            return Receipt(event=first, is_replay=True)
        await self._journal.append(event)
        if isinstance(judgement, Ranking | Comparison):
            await self._finish(event, completions, num_judged=len(judgement.about()))
        return Receipt(event=event, is_replay=False)

    async def _look_up(self, judgement: Judgement, caller: Caller) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        for candidate in judgement.about():
            completion = found.get(candidate.completion_id)
            if completion is None:
                completion = await self._completion(candidate.completion_id, caller)
                found[completion.id] = completion
            _require_choice(completion, candidate)
        prompts = {str(completion.prompt_ids) for completion in found.values()}
        if len(prompts) > 1:
            raise Unprocessable(
                "these are answers to different prompts; judge answers to one", param="candidates"
            )
        return found

    async def _completion(self, completion_id: str, caller: Caller) -> Completion:
        event = await self._journal.get(Completion.kind, completion_id)
        is_theirs = (
            isinstance(event, Completion)
            and event.tenant == caller.tenant
            and (caller.is_labeler or event.key_id == caller.key_id)
        )
        if not is_theirs or not isinstance(event, Completion):
            raise NotFound(f"there is no completion {completion_id}", param="completion_id")
        return event

    async def _sent_before(self, event: Feedback) -> Feedback | None:
        try:
            first = await self._journal.get(Feedback.kind, event.id)
        except AWAY:
            return None  # the log appends an id once, whichever way it goes
        if not isinstance(first, Feedback):
            return None
        if (first.form, first.labeler, first.body) != (event.form, event.labeler, event.body):
            raise Unprocessable(
                "this Idempotency-Key was used with another body; take a new key",
                code="idempotency_key_reused",
            )
        return first

    async def _finish(
        self, event: Feedback, completions: dict[str, Completion], *, num_judged: int
    ) -> None:
        for completion in completions.values():
            if num_judged < len(visible_choices(completion)):
                continue  # only a part of the set was judged
            try:
                await self._assignments.finish(
                    completion.id, labeler=event.labeler, tenant=event.tenant
                )
            except (redis.RedisError, OSError) as error:
                # The judgement is safe. The set may be shown once more; the last judgement counts.
                log.warning("a judged set stays in the queue: %s: %s", completion.id, error)


def _require_choice(completion: Completion, candidate: Candidate) -> None:
    choice = next((c for c in completion.choices if c.index == candidate.index), None)
    if choice is None:
        raise Unprocessable(
            f"{completion.id} has {len(completion.choices)} answers, no index {candidate.index}",
            param="index",
        )
    if choice.blocked:
        raise Unprocessable(
            f"answer {candidate.index} of {completion.id} was withheld by moderation",
            param="index",
        )


def _event_id(caller: Caller, idempotency_key: str | None) -> str:
    if idempotency_key is None:
        return new_id("fbk_")
    seed = hashlib.sha256(f"{caller.key_id}:{idempotency_key}".encode()).digest()
    return "fbk_" + base64.b32encode(seed[:20]).decode().lower()
