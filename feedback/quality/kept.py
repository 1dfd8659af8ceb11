"""The report as a worker last worked it out, for the console. Loads no numpy.

Whom an API key names, and visitors, are kept under a pseudonym: an erasure need not look here, nor wait for
a worker that read the log before it. `hone label stats` reads the log and names them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Any, cast

import orjson
import redis
import redis.asyncio

from feedback import keys


async def read(client: redis.asyncio.Redis) -> dict[str, Any] | None:
    """feedback.quality.report.Report.as_json. None: nothing was worked out yet."""
    data = await cast("Awaitable[bytes | None]", client.get(keys.QUALITY_REPORT))
    return None if data is None else cast("dict[str, Any]", orjson.loads(data))


def write(client: redis.Redis, report: dict[str, Any]) -> None:
    kept = {**report, "people": [_pseudonymous(person) for person in report["people"]]}
    client.set(keys.QUALITY_REPORT, orjson.dumps(kept))


def made(client: redis.Redis) -> float:
    """Unix seconds; 0 before the first."""
    data = cast("bytes | None", client.get(keys.QUALITY_REPORT))
    return 0.0 if data is None else float(orjson.loads(data)["made"])


def _pseudonymous(person: dict[str, Any]) -> dict[str, Any]:
    trust = person["trust"]
    if trust["source"] == "labeler" or trust["labeler"].startswith("key_"):
        return person
    tag = hashlib.sha256(trust["labeler"].encode()).hexdigest()[:8]
    return {**person, "name": f"somebody {tag}", "trust": {**trust, "labeler": tag}}
