"""What a labeler is given to do next.

1. A labeler in screening gets the known answers first.
2. Now and then an active one gets a known answer they have not seen, mixed in among the rest.
3. Otherwise the front of the queue; on a share drawn at random, anything in it, so that figures on that
   share hold for all that waits, not only for what the reward model is least sure of.
4. On a screen the answers stand in an order of that labeler's own, which a reload does not change.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import redis.asyncio

from feedback import keys
from feedback.errors import Conflict, NotFound
from feedback.events import Completion, new_id
from feedback.journal import Journal
from feedback.labeling.given import (
    Assignment,
    Given,
    Kind,
    Shown,
    load,
    messages_of,
    refs_of,
    visible_choices,
)
from feedback.labeling.known_answers import KnownAnswers
from feedback.labeling.queues import Queues, Ref, Taken, Task

_KEPT_S = 2 * 86_400  # an assignment is remembered so long after its lease, for what comes late


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How work is mixed, shares between 0 and 1."""

    known: float = 0.05
    at_random: float = 0.25
    own_prompts: float = 0.5  # demonstrations of a prompt that the labeler thinks of


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Who asks for work."""

    labeler: str
    tenant: str
    is_screened: bool = True  # false: known answers first


class Assignments:
    """One per gateway process. Raises redis.ConnectionError while Redis is away."""

    def __init__(
        self,
        journal: Journal,
        *,
        lease_s: float,
        mix: Mix | None = None,
        draw: random.Random | None = None,
    ) -> None:
        self._journal = journal
        self._redis: redis.asyncio.Redis = journal.redis
        self.queues = Queues(journal.redis, lease_s=lease_s)
        self.known = KnownAnswers(journal.redis)
        self._mix = mix or Mix()
        self._draw = draw or random.Random()

    async def next(self, worker: Worker, *, task: Task = "rank") -> Assignment | None:
        """Lease a piece of work that this labeler has not done. None: there is none at the moment."""
        if (mine := await self._on_screen(worker, task)) is not None:
            return mine
        if task in ("rank", "compare") and self._wants_known(worker):
            known = await self._known_for(worker, task)
            if known is not None:
                return known
        if task == "demonstrate" and self._draw.random() < self._mix.own_prompts:
            return await self._own_prompt(worker)
        queued = await self._queued(worker, task)
        if queued is None and task == "demonstrate":
            return await self._own_prompt(worker)
        return queued

    async def find(self, assignment_id: str, *, labeler: str) -> Given:
        """What was given to this labeler under an id. Raises NotFound."""
        given = await self._recall(assignment_id)
        if given is None or given.labeler != labeler:
            raise NotFound(
                f"there is no assignment {assignment_id} of yours", param="assignment_id"
            )
        return given

    async def renew(self, assignment_id: str, *, labeler: str) -> float:
        """Hold it longer. Returns when the lease ends, unix seconds. Raises NotFound, Conflict."""
        given = await self.find(assignment_id, labeler=labeler)
        if await self._held(labeler, given.task) != assignment_id:
            raise Conflict("this assignment is not on your screen any more; take the next one")
        if given.completion_id is None or given.is_known:
            await self._hold(given)
            return time.time() + self.queues.lease_s
        taken = await self.queues.take(given.task, labeler=labeler, tenant=given.tenant)
        if taken is None or taken.assignment_id != assignment_id:
            raise Conflict("this assignment went to somebody else meanwhile; take the next one")
        return time.time() + self.queues.lease_s

    async def show(self, given: Given) -> Assignment | None:
        """What a labeler sees of it. None: a part of it was erased, or is withheld."""
        ends = time.time() + self.queues.lease_s
        if given.completion_id is None:
            return Assignment(given=given, messages=[], shown=[], lease_ends=ends)
        prompt = await self._completion(given.completion_id)
        shown = [await self._shown(ref) for ref in given.refs]
        if prompt is None or None in shown:
            return None
        return Assignment(
            given=given,
            messages=messages_of(prompt),
            shown=[answer for answer in shown if answer is not None],
            lease_ends=ends,
        )

    async def finish(self, completion_id: str, *, task: Task, labeler: str, tenant: str) -> None:
        """The labeler has judged it."""
        await self.queues.leave(
            task, completion_id, labeler=labeler, tenant=tenant, has_judged=True
        )

    async def let_go(self, given: Given) -> None:
        """Take work that is no queue's off the labeler's screen: it is done, or skipped."""
        if await self._held(given.labeler, given.task) == given.id:
            await self._redis.delete(keys.held(given.labeler, given.task))

    async def skip(self, given: Given) -> None:
        """Do not show it to this labeler again; others may have it."""
        await self.let_go(given)
        if given.completion_id is not None and not given.is_known:
            await self.queues.leave(
                given.task,
                given.completion_id,
                labeler=given.labeler,
                tenant=given.tenant,
                has_judged=False,
            )

    async def reopen(self, given: Given) -> None:
        """Put it back on the labeler's screen."""
        if given.completion_id is None or given.is_known:
            await self._hold(given)
        else:
            await self.queues.reopen(
                given.task,
                given.completion_id,
                labeler=given.labeler,
                tenant=given.tenant,
                refs=given.refs,
                assignment_id=given.id,
            )

    async def depth(self, *, tenant: str, task: Task = "rank") -> int:
        """How much waits."""
        return await self.queues.depth(task, tenant=tenant)

    def _wants_known(self, worker: Worker) -> bool:
        return not worker.is_screened or self._draw.random() < self._mix.known

    async def _on_screen(self, worker: Worker, task: Task) -> Assignment | None:
        """What the labeler was given and no queue holds."""
        held = await self._held(worker.labeler, task)
        given = None if held is None else await self._recall(held)
        if given is None or not (given.is_known or given.completion_id is None):
            return None  # the queue knows
        assignment = await self.show(given)
        if assignment is None:
            await self.let_go(given)
        return assignment

    async def _known_for(self, worker: Worker, task: Task) -> Assignment | None:
        pairs_only = task == "compare"
        while known := await self.known.next_for(
            worker.labeler, tenant=worker.tenant, pairs_only=pairs_only
        ):
            await self.known.mark_seen(worker.labeler, known.completion_id)
            completion = await self._completion(known.completion_id)
            if completion is None:  # erased
                continue
            refs = refs_of(completion)
            given = self._given(
                new_id("asg_"), worker, task, known.completion_id, refs, is_known=True
            )
            await self._hold(given)
            return await self.show(given)
        return None

    async def _own_prompt(self, worker: Worker) -> Assignment:
        kind: Kind = self._draw.choice(("plain", "few_shot", "user_based"))
        given = Given(
            id=new_id("asg_"),
            task="demonstrate",
            labeler=worker.labeler,
            tenant=worker.tenant,
            completion_id=None,
            refs=[],
            kind=kind,
        )
        await self._hold(given)
        ends = time.time() + self.queues.lease_s
        return Assignment(given=given, messages=[], shown=[], lease_ends=ends)

    async def _queued(self, worker: Worker, task: Task) -> Assignment | None:
        at_random = self._draw.random() < self._mix.at_random
        while True:
            taken = await self.queues.take(
                task, labeler=worker.labeler, tenant=worker.tenant, at_random=at_random
            )
            if taken is None:
                return None
            given = await self._given_of(worker, task, taken)
            assignment = await self.show(given) if given is not None else None
            if given is not None and assignment is not None:
                await self._remember(given)
                return assignment
            await self.queues.withdraw(task, taken.completion_id, tenant=worker.tenant)

    async def _given_of(self, worker: Worker, task: Task, taken: Taken) -> Given | None:
        """None: there is nothing to judge."""
        if task == "demonstrate":
            return self._given(taken.assignment_id, worker, task, taken.completion_id, [])
        refs = taken.refs
        if not refs:
            completion = await self._completion(taken.completion_id)
            refs = [] if completion is None else refs_of(completion)
        if task == "rate":
            refs = refs[:1]  # a rating is of one answer
        if len(refs) < (1 if task == "rate" else 2):
            return None
        return self._given(taken.assignment_id, worker, task, taken.completion_id, refs)

    @staticmethod
    def _given(
        assignment_id: str,
        worker: Worker,
        task: Task,
        completion_id: str,
        refs: Sequence[Ref],
        *,
        is_known: bool = False,
    ) -> Given:
        # Seeded by what it is and who sees it: a reload shows the same order.
        seed = hashlib.sha256(f"{completion_id}:{worker.labeler}".encode()).digest()
        order = list(refs)
        random.Random(seed).shuffle(order)
        return Given(
            id=assignment_id,
            task=task,
            labeler=worker.labeler,
            tenant=worker.tenant,
            completion_id=completion_id,
            refs=order,
            is_known=is_known,
        )

    async def _shown(self, ref: Ref) -> Shown | None:
        completion = await self._completion(ref.completion_id)
        if completion is None:
            return None
        for choice in visible_choices(completion):
            if choice.index == ref.index:
                return Shown(completion_id=ref.completion_id, index=ref.index, text=choice.text)
        return None

    async def _completion(self, completion_id: str) -> Completion | None:
        event = await self._journal.get(Completion.kind, completion_id)
        return event if isinstance(event, Completion) else None

    async def _hold(self, given: Given) -> None:
        """On the labeler's screen until the lease ends; no queue knows of it."""
        await self._remember(given)
        value = f"{given.id} {given.completion_id or '-'}"
        lease_ms = int(self.queues.lease_s * 1000)
        await self._redis.set(keys.held(given.labeler, given.task), value, px=lease_ms)

    async def _held(self, labeler: str, task: Task) -> str | None:
        """Id of the assignment on a labeler's screen."""
        held = cast("bytes | None", await self._redis.get(keys.held(labeler, task)))
        return None if held is None else held.decode().split(" ")[0]

    async def _recall(self, assignment_id: str) -> Given | None:
        data = cast("bytes | None", await self._redis.get(keys.assignment(assignment_id)))
        return None if data is None else load(data)

    async def _remember(self, given: Given) -> None:
        ttl_s = int(self.queues.lease_s) + _KEPT_S
        await self._redis.set(keys.assignment(given.id), orjson.dumps(asdict(given)), ex=ttl_s)
