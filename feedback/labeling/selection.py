"""Which prompts are worth labeling. Pure.

Drawn at random from what people asked and let us keep, each prompt once, spread over the use cases and
over the people in each: one busy user, or one busy app, must not be all that labelers ever see.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from feedback.events import Completion
from feedback.labeling.given import messages_of

T = TypeVar("T")

USE_CASE = "use_case"  # the metadata by which an app says what a request is for


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One that could be given to labelers."""

    completion_id: str
    person: str
    use_case: str
    digest: str  # equal for prompts that differ in case and white space only


def as_prompt(completion: Completion) -> Prompt | None:
    """None for what labelers shall not be given: sampled for them already, not whole, of two versions,
    or withheld by moderation."""
    is_fit = completion.complete and not completion.is_mixed and completion.prompt_of is None
    if not is_fit or len(completion.choices) != 1 or completion.choices[0].blocked:
        return None
    return Prompt(
        completion_id=completion.id,
        person=completion.end_user or completion.key_id,
        use_case=completion.metadata.get(USE_CASE, ""),
        digest=_digest(messages_of(completion)),
    )


def choose(
    prompts: Iterable[Prompt], *, count: int, seen: Collection[str], rng: random.Random
) -> list[Prompt]:
    """`count` prompts at most, none whose digest is in `seen` and none twice."""
    by_use_case: dict[str, dict[str, list[Prompt]]] = defaultdict(lambda: defaultdict(list))
    known = set(seen)
    for prompt in prompts:
        if prompt.digest not in known:
            known.add(prompt.digest)
            by_use_case[prompt.use_case][prompt.person].append(prompt)
    piles = [
        list(_in_turn([_shuffled(own, rng) for own in people.values()], rng))
        for people in by_use_case.values()
    ]
    return list(_in_turn(piles, rng))[:count]


def _in_turn(piles: Sequence[Sequence[T]], rng: random.Random) -> Iterator[T]:
    """One of each pile in a random order, then the next of each."""
    piles = _shuffled(piles, rng)
    for place in range(max(map(len, piles), default=0)):
        for pile in piles:
            if place < len(pile):
                yield pile[place]


def _shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    return rng.sample(list(items), len(items))


def _digest(messages: Sequence[dict[str, Any]]) -> str:
    words = " ".join(str(message) for message in messages).casefold().split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:24]
