"""Moderation on the request path: prompts before an engine sees them, answers before the client.

A refusal is counted and logged without its text. When the moderation server is away,
`moderation_required` decides: no answer (503), or an unchecked one that is counted as such.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from feedback.errors import ContentBlocked, HoneError, Unavailable
from feedback.events import Moderated, new_id
from feedback.journal import Journal
from moderation.client import ModerationClient
from moderation.policy import Stage, Thresholds, decide
from serving import tracing
from serving.metrics import Metrics

_PIECE_CHARS = 20_000  # below what the moderation server takes in one request


@dataclass(frozen=True, kw_only=True)
class Screened:
    """What moderation says about one text."""

    scores: dict[str, float]  # category -> 0 to 1; empty: it was not scored
    blocked: list[str]  # categories that block


PASSED = Screened(scores={}, blocked=[])


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

    async def prompt(self, texts: Sequence[str], *, key_id: str) -> dict[str, float]:
        """Highest scores over the texts of a prompt. Raises ContentBlocked, Unavailable."""
        screened = await self._screen([_joined(texts)], stage="prompt", key_id=key_id)
        if screened[0].blocked:
            raise ContentBlocked(
                "this prompt was refused by moderation: " + ", ".join(screened[0].blocked)
            )
        return screened[0].scores

    async def answers(self, texts: Sequence[str], *, key_id: str) -> list[Screened]:
        """One verdict per answer, in order. Raises Unavailable."""
        return await self._screen([[text] for text in texts], stage="completion", key_id=key_id)

    async def _screen(
        self, groups: list[list[str]], *, stage: Stage, key_id: str
    ) -> list[Screened]:
        pieces = [(i, piece) for i, texts in enumerate(groups) for piece in _pieces(texts)]
        if not pieces:
            return [PASSED] * len(groups)
        try:
            with tracing.span(f"moderation.{stage}", kind="client"):
                verdicts = await self._client.score([piece for _, piece in pieces])
        except HoneError as error:
            if not isinstance(error, Unavailable) or self._is_required:
                self._metrics.moderation.labels(stage, "refused").inc(len(groups))
                raise Unavailable(
                    "moderation cannot check this text at the moment", retry_after_s=2
                ) from error
            self._metrics.moderation.labels(stage, "unscored").inc(len(groups))
            return [PASSED] * len(groups)
        scores: list[dict[str, float]] = [{} for _ in groups]
        for (i, _), verdict in zip(pieces, verdicts, strict=True):
            scores[i] = highest(scores[i], verdict.scores)
        return [await self._judge(s, stage=stage, key_id=key_id) for s in scores]

    async def _judge(self, scores: dict[str, float], *, stage: Stage, key_id: str) -> Screened:
        blocked = decide(scores, stage=stage, thresholds=self._thresholds)
        self._metrics.moderation.labels(stage, "blocked" if blocked else "passed").inc()
        if blocked:
            tracing.current().set({f"hone.moderation.{stage}.blocked": blocked})
            event = Moderated(
                id=new_id("mod_"),
                created=time.time(),
                key_id=key_id,
                stage=stage,
                scores=scores,
                blocked=blocked,
            )
            await self._journal.append(event)
        return Screened(scores=scores, blocked=blocked)


def highest(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Category by category the higher score."""
    return {name: max(one.get(name, 0.0), score) for name, score in other.items()}


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
