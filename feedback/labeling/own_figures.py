"""What a labeler's page shows of their own work, as a worker last worked it out (feedback.quality.own)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import redis
import redis.asyncio

from feedback import keys


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95 % interval, 0 to 1."""

    value: float
    low: float
    high: float
    num_units: int  # sets that it is of


@dataclass(frozen=True, kw_only=True)
class OwnFigures:
    """No one else's answers are in it, and no weight to aim at."""

    made: float  # unix seconds
    num_judged: int
    agreement: Share | None  # with others, on sets that they judged as well
    median_s: float | None  # for one set


async def read(client: redis.asyncio.Redis, labeler: str) -> OwnFigures | None:
    """None: nothing was worked out yet."""
    reply = client.hget(keys.OWN_FIGURES, labeler)
    data = await cast("Awaitable[bytes | None]", reply)
    if data is None:
        return None
    fields = orjson.loads(data)
    if fields["agreement"] is not None:
        fields["agreement"] = Share(**fields["agreement"])
    return OwnFigures(**fields)


def write(client: redis.Redis, figures: Mapping[str, OwnFigures], *, through: str) -> None:
    """All labelers' at once. `through`: the last entry of the feedback stream that is in them."""
    pipe = client.pipeline(transaction=True)
    for labeler, own in figures.items():
        pipe.hset(keys.OWN_FIGURES, labeler, orjson.dumps(asdict(own)))
    pipe.set(keys.OWN_FIGURES_THROUGH, through)
    pipe.execute()


def through(client: redis.Redis) -> str | None:
    found = cast("bytes | None", client.get(keys.OWN_FIGURES_THROUGH))
    return None if found is None else found.decode()
