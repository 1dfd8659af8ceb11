"""What labelers are asked to go by: Markdown that the operator edits, kept in Redis, one text per tenant."""

from __future__ import annotations

from collections.abc import Awaitable
from importlib.resources import files
from typing import cast

import redis
import redis.asyncio

from feedback import keys
from feedback.errors import Unprocessable

MAX_CHARS = 50_000

# After InstructGPT, appendix B.2, in our words.
DEFAULT = files("feedback.labeling").joinpath("web/guidelines.md").read_text("utf-8")


async def read(client: redis.asyncio.Redis, *, tenant: str) -> str:
    """The operator's text, or ours."""
    reply = client.hget(keys.GUIDELINES, tenant)
    found = await cast("Awaitable[bytes | None]", reply)
    return DEFAULT if found is None else found.decode()


def read_now(client: redis.Redis, *, tenant: str) -> str:
    """The same for a command."""
    found = cast("bytes | None", client.hget(keys.GUIDELINES, tenant))
    return DEFAULT if found is None else found.decode()


def write(client: redis.Redis, text: str, *, tenant: str) -> None:
    """An empty text brings ours back. Raises Unprocessable for one that nobody would read."""
    if len(text) > MAX_CHARS:
        raise Unprocessable(f"guidelines have at most {MAX_CHARS} characters", param="text")
    if text.strip():
        client.hset(keys.GUIDELINES, tenant, text)
    else:
        client.hdel(keys.GUIDELINES, tenant)
