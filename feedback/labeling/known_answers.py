"""Sets whose right order is known: new labelers are tested on them, and they are mixed in afterwards.

What is said about such a set measures the labeler and never trains a model.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import cast

import orjson
import redis.asyncio

from feedback import keys
from feedback.errors import Unprocessable
from feedback.events import Completion


@dataclass(frozen=True, kw_only=True)
class KnownAnswer:
    """The right order of a completion's choices."""

    completion_id: str
    tenant: str
    tiers: list[list[int]]  # indexes of choices, best tier first; each visible choice once
    added: float  # unix seconds
    by: str  # who says so

    @property
    def ranks(self) -> dict[int, int]:
        """Index of a choice -> rank, 1 is best, equal ranks are ties."""
        return {index: rank for rank, tier in enumerate(self.tiers, start=1) for index in tier}


def agreement(known: Mapping[int, int], given: Mapping[int, int]) -> tuple[float, int]:
    """How many of the known pairs a person decided in the known way, and how many there are.

    A known tie is no pair; a tie given where one is better is half of one.
    """
    agreed, pairs = 0.0, 0
    for a, b in combinations(sorted(known.keys() & given.keys()), 2):
        if known[a] == known[b]:
            continue
        pairs += 1
        if given[a] == given[b]:
            agreed += 0.5
        elif (known[a] < known[b]) == (given[a] < given[b]):
            agreed += 1
    return agreed, pairs


class KnownAnswers:
    """Kept in Redis. Raises redis.ConnectionError while it is away."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def add(
        self, completion: Completion, tiers: Sequence[Sequence[int]], *, by: str
    ) -> KnownAnswer:
        """Raises Unprocessable unless every visible choice is in one tier and one is better than another."""
        visible = sorted(choice.index for choice in completion.choices if not choice.blocked)
        named = sorted(index for tier in tiers for index in tier)
        if named != visible:
            raise Unprocessable(
                f"name each of the answers {visible} once; not {named}", param="tiers"
            )
        if len(tiers) < 2 or not all(tiers):
            raise Unprocessable("one answer has to be better than another", param="tiers")
        known = KnownAnswer(
            completion_id=completion.id,
            tenant=completion.tenant,
            tiers=[list(tier) for tier in tiers],
            added=time.time(),
            by=by,
        )
        await self._wait(
            self._redis.hset(keys.KNOWN_ANSWERS, completion.id, orjson.dumps(asdict(known)))
        )
        return known

    async def remove(self, completion_id: str) -> bool:
        """True if there was one."""
        return bool(await self._wait(self._redis.hdel(keys.KNOWN_ANSWERS, completion_id)))

    async def get(self, completion_id: str) -> KnownAnswer | None:
        data = await cast(
            "Awaitable[bytes | None]", self._redis.hget(keys.KNOWN_ANSWERS, completion_id)
        )
        return None if data is None else load(data)

    async def all(self, *, tenant: str) -> list[KnownAnswer]:
        """Of one tenant, oldest first."""
        stored = await cast(
            "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(keys.KNOWN_ANSWERS)
        )
        known = [load(data) for data in stored.values()]
        return sorted(
            (k for k in known if k.tenant == tenant), key=lambda k: (k.added, k.completion_id)
        )

    async def next_for(
        self, labeler: str, *, tenant: str, pairs_only: bool = False
    ) -> KnownAnswer | None:
        """The first that the labeler has not been given; `pairs_only`: of those with two answers."""
        name = keys.known_seen(labeler)
        seen = await cast("Awaitable[set[bytes]]", self._redis.smembers(name))
        for known in await self.all(tenant=tenant):
            is_fit = not pairs_only or len(known.ranks) == 2
            if is_fit and known.completion_id.encode() not in seen:
                return known
        return None

    async def mark_seen(self, labeler: str, completion_id: str) -> None:
        await self._wait(self._redis.sadd(keys.known_seen(labeler), completion_id))

    @staticmethod
    async def _wait(reply: Awaitable[int] | int) -> int:
        return await cast("Awaitable[int]", reply)


def load(data: bytes) -> KnownAnswer:
    """From its JSON in Redis."""
    return KnownAnswer(**orjson.loads(data))
