"""What is done with a text, by its scores. Pure: values in, values out.

A text is *flagged* in a category by the server (the backend's threshold, or HONE_MODERATION_FLAG). On the
request path an operator may move that border for prompts and for answers, and says by key and category what
happens there: `allow` (nothing), `flag` (counted and logged) or `block`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from feedback.errors import Unprocessable
from moderation.categories import CATEGORIES

Stage = Literal["prompt", "completion"]
Action = Literal["allow", "flag", "block"]
Actions = Mapping[str, Action]  # category, or `all` for those that are not named -> action
Limits = Mapping[str, float | None]  # category -> score from which it counts; None: never

STAGES: tuple[Stage, ...] = get_args(Stage)
ACTIONS: tuple[Action, ...] = get_args(Action)
ALL = "all"

# A block cannot be appealed in mid-conversation: stay where false positives are rare.
FLAG = 0.5

# What a key that says nothing does with what is flagged.
DEFAULT: Action = "block"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """An operator's own borders by stage; a category without one is judged by the server's flag."""

    prompt: Limits = field(default_factory=dict)
    completion: Limits = field(default_factory=dict)

    def of(self, stage: Stage) -> Limits:
        return self.prompt if stage == "prompt" else self.completion


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What happens to a text: categories, in OpenAI's order."""

    flagged: list[str]  # to be counted and logged; those that block are among them
    blocked: list[str]


def decide(
    scores: Mapping[str, float],
    *,
    flagged: Sequence[str],
    limits: Limits | None = None,
    actions: Actions | None = None,
    must_block: bool = False,
) -> Decision:
    """`flagged` is the server's word; `must_block`: the request itself wants no flagged text."""
    actions, limits = actions or {}, limits or {}
    found = Decision(flagged=[], blocked=[])
    for name in CATEGORIES:
        if name not in scores or not _counts(scores[name], name in flagged, name, limits):
            continue
        action = actions.get(name, actions.get(ALL, DEFAULT))
        if action == "block" or must_block:
            found.blocked.append(name)
        if action != "allow" or must_block:
            found.flagged.append(name)
    return found


def allows_all(actions: Actions) -> bool:
    """Nothing that moderation could say would matter: it need not be asked."""
    return actions.get(ALL) == "allow" and set(actions.values()) == {"allow"}


def over(scores: Mapping[str, float], *, limits: Mapping[str, float]) -> list[str]:
    """The categories whose score reaches its limit, in OpenAI's order."""
    return [
        name
        for name in CATEGORIES
        if name in limits and name in scores and scores[name] >= limits[name]
    ]


def override(limits: Mapping[str, float], changes: Limits) -> dict[str, float]:
    """`limits` with an operator's changes: a number replaces one, None switches the category off.

    Raises Unprocessable for a name OpenAI does not have, or a value out of range.
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
        raise Unprocessable(
            f"{name!r} is no moderation category: use one of {', '.join(CATEGORIES)}."
        )
    if value is not None and not 0.0 < value <= 1.0:
        raise Unprocessable(
            f"The threshold of {name!r} is {value}: give 0 < x <= 1, or null for off."
        )


def checked_actions(given: Mapping[str, Any]) -> dict[str, Action]:
    """A key's actions of one stage. Raises Unprocessable naming what is wrong."""
    for name, action in given.items():
        if name not in (*CATEGORIES, ALL):
            raise Unprocessable(
                f"{name!r} is no moderation category: use {ALL!r} or one of {', '.join(CATEGORIES)}.",
                param="moderation",
            )
        if action not in ACTIONS:
            raise Unprocessable(
                f"{name!r} cannot be {action!r}: say {', '.join(ACTIONS)}.", param="moderation"
            )
    return dict(given)


def _counts(score: float, is_flagged: bool, name: str, limits: Limits) -> bool:
    if name not in limits:
        return is_flagged
    limit = limits[name]
    return limit is not None and score >= limit
