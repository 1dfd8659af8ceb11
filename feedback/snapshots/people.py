"""Whose word counts, how much, and on which sets it never does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import orjson
import redis

from feedback import keys
from feedback.events import Feedback


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Of one labeler."""

    is_active: bool = True  # screened, and not blocked
    is_heldout: bool = False  # measures how a model does with people it never learned from


@dataclass(frozen=True, kw_only=True)
class People:
    """Who judges."""

    labelers: Mapping[str, Standing] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)  # 0 to 1, by labeler; default 1
    known_answers: frozenset[str] = frozenset()  # completions that measure people: never trained on

    def weight(self, event: Feedback) -> float:
        """0: the judgement does not count. Somebody with a labeler record counts once active; whom an API
        key names is its owner's responsibility."""
        if event.source == "labeler":
            standing = self.labelers.get(event.labeler)
            if standing is None or not standing.is_active:
                return 0.0
            if standing.is_heldout:
                return 1.0
        return self.weights.get(event.labeler, 1.0)

    def is_heldout(self, event: Feedback) -> bool:
        standing = self.labelers.get(event.labeler) if event.source == "labeler" else None
        return standing is not None and standing.is_heldout


def read(client: redis.Redis, *, weights: Mapping[str, float] | None = None) -> People:
    """Labelers and known answers as they are in Redis now."""
    records = cast("dict[bytes, bytes]", client.hgetall(keys.LABELERS))
    known = cast("list[bytes]", client.hkeys(keys.KNOWN_ANSWERS))
    return People(
        labelers={name.decode(): _standing(record) for name, record in records.items()},
        weights=dict(weights or {}),
        known_answers=frozenset(name.decode() for name in known),
    )


def _standing(record: bytes) -> Standing:
    fields = orjson.loads(record)
    return Standing(
        is_active=fields["status"] == "active", is_heldout=bool(fields.get("is_heldout"))
    )
