"""Moderation on the request path: prompts before an engine sees them, answers before the client.

What happens to a flagged text is said by its key (allow, flag, block); a request may ask for more, never for
less. A refusal is counted and logged without its text. When the moderation server is away,
`moderation_required` decides: no answer (503), or an unchecked one that is counted, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from feedback.errors import ContentBlocked, HoneError, Unavailable
from feedback.events import Moderated, new_id
from feedback.journal import Journal
from moderation import policy, wire
from moderation.cache import Verdict
from moderation.client import ModerationClient
from moderation.policy import Stage, Thresholds
from serving import tracing
from serving.auth import ApiKey
from serving.metrics import Metrics
from serving.request_fields import AskedModeration
from serving.screened import UNREAD, Screened

AWAY = "moderation_unavailable"  # the code of an error that means: nothing was judged

_PIECE_CHARS = 20_000  # below what the moderation server takes in one request


class Screen:
    """One per gateway process."""

    def __init__(
        self,
        client: ModerationClient,
        *,
        thresholds: Thresholds,
        is_required: bool,
        journal: Journal,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._thresholds = thresholds
        self._is_required = is_required
        self._journal = journal
        self._metrics = metrics

    async def check(self, asked: AskedModeration) -> None:
        """Raises NotFound where the request names a moderation model that is none of ours."""
        if asked.model not in wire.SHAPES:
            about = await self._client.about() or {}
            wire.shape(asked.model, own=str(about.get("model")), param="moderation.model")

    def reads(self, stage: Stage, *, key: ApiKey, asked: AskedModeration | None) -> bool:
        """Whether moderation has a say in it at all."""
        return asked is not None or not policy.allows_all(key.moderation.get(stage, {}))

    async def prompt(
        self, texts: Sequence[str], *, key: ApiKey, asked: AskedModeration | None
    ) -> Screened:
        """Highest scores over the texts of a prompt. Raises ContentBlocked, Unavailable."""
        (screened,) = await self._screen([_joined(texts)], stage="prompt", key=key, asked=asked)
        if screened.blocked:
            raise ContentBlocked(
                "this prompt was refused by moderation: " + ", ".join(screened.blocked)
            )
        return screened

    async def answers(
        self, texts: Sequence[str], *, key: ApiKey, asked: AskedModeration | None
    ) -> list[Screened]:
        """One verdict per answer, in order. Raises Unavailable."""
        groups = [[text] for text in texts]
        return await self._screen(groups, stage="completion", key=key, asked=asked)

    async def _screen(
        self,
        groups: list[list[str]],
        *,
        stage: Stage,
        key: ApiKey,
        asked: AskedModeration | None,
    ) -> list[Screened]:
        if not self.reads(stage, key=key, asked=asked):
            return [UNREAD] * len(groups)
        pieces = [(i, piece) for i, texts in enumerate(groups) for piece in _pieces(texts)]
        if not pieces:
            return [UNREAD] * len(groups)
        began = time.perf_counter()
        try:
            with tracing.span(f"moderation.{stage}", kind="client"):
                verdicts = await self._client.score([piece for _, piece in pieces])
        except HoneError as error:
            return self._unscored(error, stage=stage, count=len(groups))
        finally:
            self._metrics.moderation_seconds.labels(stage).observe(time.perf_counter() - began)
        screened = [UNREAD] * len(groups)
        must_block = asked is not None and stage in asked.blocks
        for (i, _), verdict in zip(pieces, verdicts, strict=True):
            screened[i] = screened[i].merged(
                self._judge(verdict, stage=stage, key=key, must_block=must_block)
            )
        for one in screened:
            await self._count(one, stage=stage, key=key)
        return screened

    def _unscored(self, error: HoneError, *, stage: Stage, count: int) -> list[Screened]:
        if not isinstance(error, Unavailable) or self._is_required:
            self._metrics.moderation.labels(stage, "refused").inc(count)
            raise Unavailable(
                "moderation cannot check this text at the moment", code=AWAY, retry_after_s=2
            ) from error
        self._metrics.moderation.labels(stage, "unscored").inc(count)
        return [Screened(error="moderation was away; this text was not checked")] * count

    def _judge(self, verdict: Verdict, *, stage: Stage, key: ApiKey, must_block: bool) -> Screened:
        decision = policy.decide(
            verdict.scores,
            flagged=verdict.flagged,
            limits=self._thresholds.of(stage),
            actions=key.moderation.get(stage),
            must_block=must_block,
        )
        return Screened(
            scores=verdict.scores,
            over=tuple(verdict.flagged),
            flagged=tuple(decision.flagged),
            blocked=tuple(decision.blocked),
            model=verdict.model,
        )

    async def _count(self, screened: Screened, *, stage: Stage, key: ApiKey) -> None:
        outcome = "blocked" if screened.blocked else "flagged" if screened.flagged else "passed"
        self._metrics.moderation.labels(stage, outcome).inc()
        for name in screened.flagged:
            action = "block" if name in screened.blocked else "flag"
            self._metrics.moderation_categories.labels(stage, name, action).inc()
        if screened.blocked:
            blocked = list(screened.blocked)
            tracing.current().set({f"hone.moderation.{stage}.blocked": blocked})
            event = Moderated(
                id=new_id("mod_"),
                created=time.time(),
                key_id=key.id,
                stage=stage,
                scores=dict(screened.scores),
                blocked=blocked,
            )
            await self._journal.append(event)


def _joined(texts: Sequence[str]) -> list[str]:
    """Each text once: a conversation repeats itself."""
    return list(dict.fromkeys(texts))


def _pieces(texts: Iterable[str]) -> list[str]:
    return [
        text[start : start + _PIECE_CHARS]
        for text in texts
        if text.strip()
        for start in range(0, len(text), _PIECE_CHARS)
    ]
