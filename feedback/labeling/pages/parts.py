"""What the pages need of the process they are in; made when it starts, so asked for by call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import redis.asyncio

from feedback.callers import Caller
from feedback.intake import Intake
from feedback.labeling.assignments import Assignments
from feedback.labeling.labelers import Labelers
from feedback.labeling.sessions import Signer


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Of the gateway."""

    redis: Callable[[], redis.asyncio.Redis]
    intake: Callable[[], Intake]
    assignments: Callable[[], Assignments]
    labelers: Callable[[], Labelers]
    signer: Signer
    # Takes an API key; raises where it may not label.
    log_in: Callable[[str], Awaitable[Caller]]
    # Takes a key's id; None where it may not label any more.
    caller_of: Callable[[str], Caller | None]
