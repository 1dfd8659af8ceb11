"""When does a round start? Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decision:
    start: bool
    reason: str = ""
    recipe: str | None = None  # None: the configured one


def decide(
    *,
    active: str | None,
    is_paused: bool,
    request: bytes | None,
    new_judgements: int,
    last_started: float,
    now: float,
    min_new_judgements: int,
    schedule_s: int,
) -> Decision:
    """A round starts when a person asks, when enough judgements are new, or when the schedule says
    so
    and at least one is new; never beside another one, never while learning is paused."""
    if active is not None or is_paused:
        return Decision(start=False)
    if request is not None:
        options = json.loads(request)
        return Decision(start=True, reason="requested", recipe=options.get("recipe"))
    if new_judgements >= min_new_judgements:
        return Decision(start=True, reason=f"{new_judgements} new judgements")
    if schedule_s and new_judgements and now - last_started >= schedule_s:
        return Decision(start=True, reason="schedule")
    return Decision(start=False)
