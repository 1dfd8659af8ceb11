"""Which scores block a text. Pure: values in, values out.

A score is not a probability. Every head is shifted so that 0.5 is the score above which only the
stated share of benign validation texts lies (heads.json, `report`), so that one number means the
same in every category and in every later version of the heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from feedback.errors import Unprocessable
from moderation.categories import CATEGORIES, SCORED

Stage = Literal["prompt", "completion"]

# A block cannot be appealed in mid-conversation: stay where false positives are rare.
FLAG = 0.5


def _at_flag() -> dict[str, float]:
    return dict.fromkeys(SCORED, FLAG)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Score (0 to 1) from which a category blocks; a category without one never does."""

    prompt: Mapping[str, float] = field(default_factory=_at_flag)
    completion: Mapping[str, float] = field(default_factory=_at_flag)


DEFAULT = Thresholds()


def decide(
    scores: Mapping[str, float], *, stage: Stage = "prompt", thresholds: Thresholds = DEFAULT
) -> list[str]:
    """The categories that block a text, in OpenAI's order; an empty list lets it pass."""
    limits = thresholds.prompt if stage == "prompt" else thresholds.completion
    return over(scores, limits=limits)


def over(scores: Mapping[str, float], *, limits: Mapping[str, float]) -> list[str]:
    """The categories whose score reaches its limit, in OpenAI's order."""
    return [
        name
        for name in CATEGORIES
        if name in limits and name in scores and scores[name] >= limits[name]
    ]


def override(limits: Mapping[str, float], changes: Mapping[str, float | None]) -> dict[str, float]:
    """`limits` with an operator's changes: a number replaces one, None switches the category off.

    Raises Unprocessable for a name OpenAI does not have, one we do not score, a value out of range.
    """
    result = dict(limits)
    for name, value in changes.items():
        check(name, value)
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def check(name: str, value: float | None) -> None:
    """Raises Unprocessable where a threshold would do nothing, or everything."""
    if name not in CATEGORIES:
        raise Unprocessable(f"{name!r} is no moderation category: use one of {', '.join(SCORED)}.")
    if name not in SCORED:
        raise Unprocessable(f"{name!r} is not scored by this classifier: remove its threshold.")
    if value is not None and not 0.0 < value <= 1.0:
        raise Unprocessable(
            f"The threshold of {name!r} is {value}: give 0 < x <= 1, or null for off."
        )
