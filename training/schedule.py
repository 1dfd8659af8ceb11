"""When does a round start? Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decision:
    start: bool
    reason: str = ""
    kind: str = "policy"  # or "moderation"
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
    new_corrections: int,
    min_new_corrections: int,
    canary: str | None,  # a version that people have not decided about yet
) -> Decision:
    """A round starts when a person asks, when enough judgements or corrections of moderation are new,
    or when the schedule says so and at least one judgement is new; never beside another one, never
    while learning is paused. While people have not decided about a canary only a person begins a round
    of the policy: its candidate would take the canary's place."""
    if active is not None or is_paused:
        return Decision(start=False)
    if request is not None:
        options = json.loads(request)
        kind = options.get("kind", "policy")
        why = f"requested: {options['reason']}" if options.get("reason") else "requested"
        if canary is not None and kind == "policy":
            why += f" (while {canary} is a canary, which gives way to what it makes)"
        return Decision(start=True, reason=why, kind=kind, recipe=options.get("recipe"))
    if canary is None:
        if new_judgements >= min_new_judgements:
            return Decision(start=True, reason=f"{new_judgements} new judgements")
        if schedule_s and new_judgements and now - last_started >= schedule_s:
            return Decision(start=True, reason="schedule")
    if new_corrections >= min_new_corrections:
        return Decision(start=True, reason=f"{new_corrections} new corrections", kind="moderation")
    return Decision(start=False)
