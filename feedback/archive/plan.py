"""What is to leave Redis now? Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

YOUNGEST_S = 120  # younger events stay, however many bytes they are: their ids are not looked up
_SHED_TO = 0.75  # of the bytes allowed, so that a segment is not a handful of events


@dataclass(frozen=True, kw_only=True)
class Load:
    """What Redis holds of one kind."""

    kind: str
    num_events: int
    num_bytes: int  # of the stream and its index
    oldest_ms: int  # unix ms; of no meaning where there are none


@dataclass(frozen=True, kw_only=True)
class Due:
    """Events of a kind that are to be archived, the oldest first."""

    kind: str
    before_ms: int  # all that came before, …
    num_events: int  # … and at least so many
    never_after_ms: int  # but nothing that came from here on


def due(
    loads: Sequence[Load], *, now: float, keep_s: float, every_s: float, keep_bytes: int
) -> list[Due]:
    """By age in steps of `every_s`, so that a segment holds many; by bytes as soon as they are too
    many, from where most are."""
    before_ms = int((now - keep_s) // every_s * every_s * 1000)
    never_after_ms = int((now - YOUNGEST_S) * 1000)
    excess = sum(load.num_bytes for load in loads)
    excess = excess - int(keep_bytes * _SHED_TO) if excess > keep_bytes else 0
    found = []
    for load in sorted(loads, key=lambda load: -load.num_bytes):
        shed_bytes = min(excess, load.num_bytes)
        excess -= shed_bytes
        shed = math.ceil(load.num_events * shed_bytes / load.num_bytes) if shed_bytes else 0
        is_old = load.num_events > 0 and load.oldest_ms < before_ms
        if shed or is_old:
            found.append(
                Due(
                    kind=load.kind,
                    before_ms=before_ms,
                    num_events=shed,
                    never_after_ms=never_after_ms,
                )
            )
    return found
