"""What moderation says about a text, and how an answer shows it: OpenAI's `moderation` object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moderation import wire
from moderation.categories import CATEGORIES


@dataclass(frozen=True, kw_only=True)
class Screened:
    """One prompt, or one candidate as far as it was read."""

    scores: Mapping[str, float] = field(
        default_factory=dict
    )  # category -> 0 to 1; only what was judged
    over: tuple[str, ...] = ()  # categories the moderation server flags
    flagged: tuple[str, ...] = ()  # categories that the key's policy counts
    blocked: tuple[str, ...] = ()  # categories that block
    model: str | None = None  # that judged it; None: nothing was there to judge
    error: str | None = None  # why (a part of) it was not judged

    def merged(self, later: Screened) -> Screened:
        """With what a later look found."""
        return Screened(
            scores=highest(self.scores, later.scores),
            over=_both(self.over, later.over),
            flagged=_both(self.flagged, later.flagged),
            blocked=_both(self.blocked, later.blocked),
            model=later.model or self.model,
            error=self.error or later.error,
        )


UNREAD = Screened()


def highest(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Category by category the higher score."""
    return {**one, **{name: max(one.get(name, 0.0), score) for name, score in other.items()}}


def moderation_object(
    prompt: Screened, answers: Sequence[Screened], *, asked_model: str | None
) -> dict[str, Any]:
    """`moderation` of a chat completion: one result for the input, one for each choice."""
    return {
        "input": _part([prompt], asked_model=asked_model),
        "output": _part(answers, asked_model=asked_model),
    }


def _part(texts: Sequence[Screened], *, asked_model: str | None) -> dict[str, Any]:
    error = next((text.error for text in texts if text.error is not None), None)
    if error is not None:
        return {"type": "error", "code": "moderation_unavailable", "message": error}
    model = next((text.model for text in texts if text.model is not None), asked_model or "")
    shape = wire.SHAPES.get(asked_model or "", CATEGORIES)
    results = [
        {
            "type": "moderation_result",
            "model": model,
            **wire.result(text.scores, flagged=text.over, shape=shape),
        }
        for text in texts
    ]
    return {"type": "moderation_results", "model": model, "results": results}


def _both(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in CATEGORIES if name in one or name in other)
