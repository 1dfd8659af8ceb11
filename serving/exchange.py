"""One request and the answer to it, from the moment its version is known until it is in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import asdict, replace
from typing import Any

import redis

from feedback.errors import Unavailable
from feedback.events import Completion, new_id, uuid_of
from feedback.journal import Journal
from feedback.labeling.given import visible_choices
from feedback.labeling.queues import Queues, Task
from serving import tracing
from serving.auth import ApiKey
from serving.canary import people
from serving.candidates import Draft, Shape
from serving.metrics import Metrics
from serving.request_fields import Asked
from serving.routing import Target
from serving.screened import UNREAD, moderation_object
from serving.screening import Screen
from serving.upstream import Upstream

log = logging.getLogger(__name__)

_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty")

_errands: set[asyncio.Task[None]] = set()  # asyncio keeps no reference of its own


def person_of(asked: Asked, key: ApiKey) -> str | None:
    """Whom a canary may be drawn for; None where labelers are to judge, who compare versions."""
    if asked.prompt_of is not None:
        return None
    return people.person(
        tenant=key.tenant,
        key_id=key.id,
        end_user=key.end_user or asked.end_user,
        request=asked.request,
    )


class Exchange:
    """Written by the request that owns it."""

    def __init__(
        self,
        *,
        shape: Shape,
        asked: Asked,
        target: Target,
        key: ApiKey,
        journal: Journal,
        queues: Queues | None,  # None: the answers are not offered to labelers
        screen: Screen,
        metrics: Metrics,
    ) -> None:
        self.id = new_id(shape.id_prefix)
        self.shape, self.asked, self.target, self.key = shape, asked, target, key
        self.drafts = [Draft(index=i) for i in range(asked.num_choices)]
        self.prompt_ids: list[int] | None = None
        self.prompt = UNREAD
        self.metrics = metrics
        self._journal, self._queues, self._screen = journal, queues, screen
        self._created, self._started = time.time(), time.perf_counter()
        self.first_token_ms: float | None = None  # of a stream
        self.span = tracing.current()  # the request's

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    @property
    def end_user(self) -> str | None:
        return self.key.end_user or self.asked.end_user

    def headers(self) -> dict[str, str]:
        """What an answer says of the version that made it."""
        headers = {
            "x-policy-version": self.target.version,
            "x-policy-digest": self.target.record.digest,
            "x-inference-id": uuid_of(self.id) or self.id,  # what TensorZero's client calls it
        }
        if self.target.alias is not None:
            headers["x-policy-alias"] = self.target.alias
        return headers

    def stamp(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Put our id and the concrete version on an answer, or on a chunk of one."""
        answer["id"] = self.id
        answer["created"] = int(self._created)
        answer["model"] = self.target.version
        answer["system_fingerprint"] = self.target.fingerprint
        return answer

    @property
    def num_tokens(self) -> int:
        """Tokens read and written so far."""
        return len(self.prompt_ids or ()) + sum(len(draft.token_ids) for draft in self.drafts)

    async def screen_prompt(self) -> None:
        """Raises ContentBlocked, NotFound, Unavailable."""
        asked = self.asked.moderation
        if asked is not None:
            await self._screen.check(asked)
        self.prompt = await self._screen.prompt(self.asked.texts, key=self.key, asked=asked)

    @property
    def is_screened(self) -> bool:
        """Whether moderation reads the answers, or has to say that it could not read the prompt."""
        reads = self._screen.reads("completion", key=self.key, asked=self.asked.moderation)
        return reads or self.prompt.error is not None

    async def screen_answers(self, drafts: list[Draft], texts: list[str]) -> None:
        """Judge a text of each draft: all of it, or what is new of it."""
        asked = self.asked.moderation
        found = await self._screen.answers(texts, key=self.key, asked=asked)
        for draft, screened in zip(drafts, found, strict=True):
            draft.screened = draft.screened.merged(screened)

    def moderation(self) -> dict[str, Any] | None:
        """OpenAI's object, where it was asked for, or where moderation was away."""
        asked, answers = self.asked.moderation, [draft.screened for draft in self.drafts]
        if asked is None and not any(text.error for text in (self.prompt, *answers)):
            return None
        model = asked.model if asked is not None else None
        return moderation_object(self.prompt, answers, asked_model=model)

    def count_usage(self, usage: dict[str, Any] | None) -> None:
        """The tokens of an answer, for the metrics."""
        version = self.target.version
        for what in ("prompt", "completion"):
            amount = (usage or {}).get(f"{what}_tokens") or 0
            self.metrics.tokens.labels(version, what).inc(amount)

    def count_latency(self) -> None:
        """The answer has ended."""
        labels = (self.shape.name, self.target.version)
        self.metrics.latency.labels(*labels).observe(self.elapsed_s)

    def describe(self) -> None:
        """Say on the request's span what was asked and answered, in GenAI's semantic conventions."""
        if not self.span.is_recording:
            return
        sampling = self.asked.upstream
        about: dict[str, Any] = {
            f"gen_ai.request.{name}": sampling[name]
            for name in _SAMPLING
            if sampling.get(name) is not None
        }
        if max_tokens := sampling.get("max_completion_tokens") or sampling.get("max_tokens"):
            about["gen_ai.request.max_tokens"] = max_tokens
        about |= {
            "gen_ai.operation.name": self.shape.operation,
            "gen_ai.provider.name": "hone",
            "gen_ai.request.model": self.asked.model,
            "gen_ai.request.stream": self.asked.is_stream,
            "gen_ai.request.choice.count": self.asked.num_choices,
        }
        if any(draft.token_ids for draft in self.drafts):
            about |= {
                "gen_ai.response.id": self.id,
                "gen_ai.response.model": self.target.version,
                "gen_ai.response.finish_reasons": [
                    "content_filter" if draft.is_blocked else draft.finish_reason
                    for draft in self.drafts
                    if draft.finish_reason is not None
                ],
                "gen_ai.usage.input_tokens": len(self.prompt_ids or ()),
                "gen_ai.usage.output_tokens": sum(len(draft.token_ids) for draft in self.drafts),
            }
        self.span.set(about)

    async def log(self, upstream: Upstream, *, broken_by: str | None = None) -> None:
        """Put the exchange into the log, where it is to be stored. Returns when it is durable.

        Raises Unavailable when neither Redis nor the disk takes it.
        """
        self._count_arm(broken_by)
        if not self._is_stored:
            return
        record = self._record(upstream.version, upstream.version_last, broken_by=broken_by)
        try:
            with tracing.span("log.append"):
                await self._journal.append(record)
        except redis.RedisError as error:
            log.error("the log takes nothing: %s", error)
            raise Unavailable("the answer cannot be kept at the moment", retry_after_s=5) from error
        if record.complete and self._queues is not None and len(visible_choices(record)) >= 2:
            _later(_offer_for_judging(self._queues, record))

    async def log_failure(self) -> None:
        """No engine gave an answer: while a canary runs that speaks about the version that was asked."""
        self._count_arm("engine")
        if self.target.drawn is None or not self._is_stored:
            return
        record = replace(
            self._record(None, None, broken_by="engine"),
            id=new_id(self.shape.id_prefix),
            choices=[],
        )
        try:
            await self._journal.append(record)
        except (redis.RedisError, Unavailable) as error:
            log.error("a failed answer is not in the log: %s", error)

    def _count_arm(self, broken_by: str | None) -> None:
        if (drawn := self.target.drawn) is None:
            return
        is_flagged = any(draft.screened.flagged for draft in self.drafts)
        outcome = f"broken_by_{broken_by}" if broken_by else "flagged" if is_flagged else "answered"
        self.metrics.arms.labels(drawn.arm, outcome).inc()

    @property
    def _is_stored(self) -> bool:
        return self.key.store if self.asked.store is None else self.asked.store

    def _record(
        self, version: str | None, version_last: str | None, *, broken_by: str | None
    ) -> Completion:
        first = version or self.target.version
        return Completion(
            id=self.id,
            created=self._created,
            key_id=self.key.id,
            tenant=self.key.tenant,
            endpoint=self.shape.name,
            request=self.asked.request,
            prompt_ids=self.prompt_ids or [],
            choices=[draft.choice() for draft in self.drafts],
            version=first,
            version_last=version_last or first,
            digest=self.target.record.digest,
            latency_ms=self.elapsed_s * 1e3,
            end_user=self.end_user,
            metadata=self.asked.metadata,
            prompt_of=self.asked.prompt_of,
            moderation=self._moderated(),
            complete=broken_by is None,
            broken_by=broken_by,
            first_token_ms=self.first_token_ms,
            drawn=asdict(self.target.drawn) if self.target.drawn is not None else None,
            trace_id=self.span.trace_id if self.span.is_recording else None,
        )

    def _moderated(self) -> dict[str, Any]:
        """Scores; and what the key's policy counted, where it did."""
        answers = [draft.screened for draft in self.drafts]
        moderated: dict[str, Any] = {
            "prompt": dict(self.prompt.scores),
            "choices": [dict(answer.scores) for answer in answers],
        }
        if self.prompt.flagged or any(answer.flagged for answer in answers):
            moderated["flagged"] = {
                "prompt": list(self.prompt.flagged),
                "choices": [list(answer.flagged) for answer in answers],
            }
        return moderated


def _later(errand: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(errand)
    _errands.add(task)
    task.add_done_callback(_errands.discard)


async def _offer_for_judging(queues: Queues, record: Completion) -> None:
    """Two answers are compared, more are ranked."""
    task: Task = "compare" if len(visible_choices(record)) == 2 else "rank"
    try:
        await queues.offer(task, record.id, tenant=record.tenant)
    except (redis.RedisError, OSError) as error:
        # The completion is in the log; it is just not offered to labelers.
        log.warning("a candidate set is not offered to labelers: %s: %s", record.id, error)
