"""A judgement is checked against what it is about, and put into the log, once.

1. Every answer it names exists, was shown, and is the caller's to judge; all answer one prompt.
2. The event's id comes from the `Idempotency-Key`, so that sending twice is writing once.
3. It says which judgement of the same person on the same answers it replaces; both stay in the log.
4. Once it is durable the answers leave the labeling queue, and a known answer tells about the labeler.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import redis

from feedback.callers import Caller
from feedback.corrections import Correction
from feedback.errors import NotFound, Unprocessable
from feedback.events import Completion, Feedback, id_of, new_id
from feedback.journal import AWAY, Journal
from feedback.judgements import (
    Candidate,
    Demonstration,
    Judgement,
    Skip,
    body_of,
)
from feedback.labeling.aftermath import Aftermath, last_judgement
from feedback.labeling.given import Given, visible_choices

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the sender is told. The event is durable by then."""

    event: Feedback
    is_replay: bool  # the same was sent before


class Intake:
    """One per gateway process."""

    def __init__(
        self, journal: Journal, aftermath: Aftermath, *, on_new: Callable[[Feedback], None]
    ) -> None:
        self._journal = journal
        self._aftermath = aftermath
        self._on_new = on_new  # told of every judgement that is durable, once

    async def accept(
        self, judgement: Judgement, caller: Caller, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Raises NotFound, Unprocessable; redis.ConnectionError when only Redis could know, Unavailable
        while the answer may still be in another gateway's outbox."""
        completions = await self._look_up(judgement, caller)
        event = Feedback(
            id=_event_id(caller, idempotency_key),
            created=time.time(),
            form=judgement.form,
            labeler=caller.names(judgement.labeler),
            tenant=caller.tenant,
            completion_ids=list(completions),
            body=body_of(judgement),
            source=caller.source,
            key_id=caller.key_id,
            assignment_id=judgement.assignment_id,
        )
        given = await self._given(event, judgement)
        if idempotency_key is not None and (first := await self._sent_before(event)):
            return Receipt(event=first, is_replay=True)
        same = last_judgement(event.labeler, judgement)
        event = replace(event, replaces=await self._last(same))
        if await self._journal.append(event):
            self._on_new(event)
        await self._aftermath.of_judgement(event, judgement, given, completions)
        return Receipt(event=event, is_replay=False)

    async def check(self, judgement: Judgement, caller: Caller) -> None:
        """All that `accept` looks at, and nothing written. Raises what it raises."""
        await self._look_up(judgement, caller)

    async def skip(self, given: Given, caller: Caller, why: Skip) -> Feedback:
        """The labeler cannot judge what they were given. Kept: it says something of the prompt."""
        event = Feedback(
            id=_id_from("skip", given.id),  # twice is once
            created=time.time(),
            form="skip",
            labeler=given.labeler,
            tenant=caller.tenant,
            completion_ids=[] if given.completion_id is None else [given.completion_id],
            body={**why.model_dump(), "task": given.task},
            source=caller.source,
            key_id=caller.key_id,
            assignment_id=given.id,
        )
        await self._journal.append(event)
        await self._aftermath.of_skip(given)
        return event

    async def retract(self, feedback_id: str, caller: Caller) -> Feedback:
        """Take a judgement back; it stays in the log and counts no more. Raises NotFound, also for what
        another person said."""
        said = await self.find(feedback_id, caller)
        if said.form in ("retraction", "skip"):
            raise Unprocessable(f"a {said.form} cannot be taken back; judge again instead")
        event = Feedback(
            id=_id_from("retraction", said.id),  # twice is once
            created=time.time(),
            form="retraction",
            labeler=said.labeler,
            tenant=said.tenant,
            completion_ids=said.completion_ids,
            body={"of": said.id},
            source=said.source,
            key_id=said.key_id,
            assignment_id=said.assignment_id,
        )
        await self._journal.append(event)
        return event

    async def find(self, feedback_id: str, caller: Caller) -> Feedback:
        """What the caller said. Raises NotFound, also for what another person said."""
        said = await self._journal.get(Feedback.kind, feedback_id)
        if not isinstance(said, Feedback) or not caller.said(said):
            raise NotFound(f"there is no judgement {feedback_id} of yours", param="feedback_id")
        return said

    async def undo(self, caller: Caller) -> tuple[Given, Feedback] | None:
        """Take the labeler's last judgement back and give the work again. Returns it with what was said;
        None when there is nothing left to undo: ten at most, and none that a snapshot has used."""
        while (last := await self._aftermath.last_undoable(caller.names(None))) is not None:
            said, given = last
            await self.retract(said.id, caller)
            await self._aftermath.give_again(said, given)
            return given, said
        return None

    async def _given(self, event: Feedback, judgement: Judgement) -> Given | None:
        """The assignment that this answers. Raises Unprocessable unless it is about the answers given."""
        if judgement.assignment_id is None:
            return None
        try:
            given = await self._aftermath.find(judgement.assignment_id, labeler=event.labeler)
        except (NotFound, *AWAY):
            return None  # it came late, or Redis is away: what was said is kept all the same
        about = {(answer.completion_id, answer.index) for answer in judgement.about()}
        expected = {(ref.completion_id, ref.index) for ref in given.refs}
        if expected and about != expected and not isinstance(judgement, Demonstration):
            raise Unprocessable(
                f"{given.id} is about other answers than these", param="assignment_id"
            )
        return given

    async def _look_up(self, judgement: Judgement, caller: Caller) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        for candidate in judgement.about():
            completion = found.get(candidate.completion_id)
            if completion is None:
                completion = await self._completion(candidate.completion_id, caller)
                found[completion.id] = completion
            _require_choice(
                completion, candidate, may_be_withheld=isinstance(judgement, Correction)
            )
        prompts = {_prompt_of(completion) for completion in found.values()}
        if len(prompts) > 1:
            raise Unprocessable(
                "these are answers to different prompts; judge answers to one", param="candidates"
            )
        return found

    async def _completion(self, completion_id: str, caller: Caller) -> Completion:
        event = await self._journal.get(Completion.kind, completion_id)
        if event is None:
            await self._journal.require_settled(Completion.kind, completion_id)
        if not isinstance(event, Completion) or not caller.may_judge(event):
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

    async def _last(self, same: str | None) -> str | None:
        if same is None:
            return None
        try:
            last = cast("bytes | None", await self._journal.redis.get(same))
        except (redis.RedisError, OSError):
            return None  # a snapshot takes the last word of a person anyway
        return None if last is None else last.decode()


def _prompt_of(completion: Completion) -> str:
    """Token ids; of an imported one, which has none, the words."""
    asked = completion.request.get("messages") or completion.request.get("prompt")
    return str(completion.prompt_ids or asked)


def _require_choice(completion: Completion, candidate: Candidate, *, may_be_withheld: bool) -> None:
    choice = next((c for c in completion.choices if c.index == candidate.index), None)
    if choice is None:
        raise Unprocessable(
            f"{completion.id} has {len(completion.choices)} answers, no index {candidate.index}",
            param="index",
        )
    if not may_be_withheld and choice not in visible_choices(completion):
        raise Unprocessable(
            f"answer {candidate.index} of {completion.id} was withheld by moderation",
            param="index",
        )


def _event_id(caller: Caller, idempotency_key: str | None) -> str:
    if idempotency_key is None:
        return new_id("fbk_")
    whose = caller.key_id if caller.person is None else f"{caller.key_id}:{caller.person}"
    return _id_from(whose, idempotency_key)


def _id_from(scope: str, name: str) -> str:
    seed = hashlib.sha256(f"{scope}:{name}".encode()).digest()
    return id_of("fbk_", int.from_bytes(seed[:16]))
