"""What leads to what, and how far one gets from where. Pure.

An edge goes from what was there first to what was made of it: judgement → snapshot → round → version → the
version trained on from it. Forward is what a thing went into, backward where it comes from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["person", "completion", "judgement", "snapshot", "round", "version"]
Direction = Literal["backward", "forward"]


class Key(NamedTuple):
    """One thing of the chain."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`source` was there before `target` was made of it."""

    source: Key
    target: Key
    what: str  # in words, read from source to target


@dataclass(frozen=True, kw_only=True)
class Break:
    """Something that can no longer be shown, or is not what it was."""

    node: Key
    what: str  # one word for machines: erased, unknown, gone, incomplete, differs, away
    message: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """One thing of the chain, and what is known of it."""

    key: Key
    facts: Mapping[str, Any] = field(default_factory=dict)
    breaks: tuple[Break, ...] = ()


def walk(edges: Iterable[Edge], starts: Iterable[Key], *, direction: Direction) -> dict[Key, int]:
    """All that one gets to, in steps from the nearest start; the starts are 0. Ends on cycles too."""
    following = defaultdict(list)
    for edge in edges:
        if direction == "forward":
            following[edge.source].append(edge.target)
        else:
            following[edge.target].append(edge.source)
    steps = dict.fromkeys(starts, 0)
    queue = list(steps)
    for key in queue:
        for other in following[key]:
            if other not in steps:
                steps[other] = steps[key] + 1
                queue.append(other)
    return steps


def between(edges: Iterable[Edge], reached: Mapping[Key, int]) -> list[Edge]:
    """The edges with both ends among what was reached."""
    return [edge for edge in edges if edge.source in reached and edge.target in reached]


@dataclass(frozen=True, kw_only=True)
class Touched:
    """The versions that something went into."""

    trained: frozenset[str]  # a round made them of it
    later: frozenset[str]  # they were trained on from such a one


def touched(edges: Iterable[Edge], starts: Iterable[Key]) -> Touched:
    """Which versions these things went into. A start itself is none of them."""
    edges, starts = list(edges), list(starts)
    reached = walk(edges, starts, direction="forward")
    versions = {key for key in reached if key.kind == "version"} - set(starts)
    trained = {
        edge.target for edge in edges if edge.source.kind == "round" and edge.source in reached
    }
    return Touched(
        trained=frozenset(key.id for key in versions & trained),
        later=frozenset(key.id for key in versions - trained),
    )
