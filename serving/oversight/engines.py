"""The engines: what each has loaded, since when, how fast it came, and how busy it is."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from serving.registry import PRODUCTION

if TYPE_CHECKING:
    from serving.fleet import Member
    from serving.gateway import Gateway

_LOADED = ("version", "kind", "digest", "loaded_at", "load_ms", "pause_ms")


def read(gateway: Gateway) -> dict[str, Any]:
    """As this gateway last saw them."""
    held = gateway.refresher.live.rollout.held if gateway.refresher.live.rollout else ()
    rows = [_row(gateway, member, is_held=member.url in held) for member in gateway.fleet.members]
    return {"object": "list", "data": rows}


def _row(gateway: Gateway, member: Member, *, is_held: bool) -> dict[str, Any]:
    live, now = gateway.refresher.live, time.time()
    names = {version: alias for alias, version in live.aliases.items()}
    loaded = [
        {**{name: entry.get(name) for name in _LOADED}, "alias": names.get(entry["version"])}
        for entry in member.loaded.values()
    ]
    swaps = [entry for entry in loaded if entry["load_ms"] is not None]
    vital = gateway.vitals.of(member.url, now=now) if member.is_reachable else None
    production = live.aliases.get(PRODUCTION)
    return {
        "url": member.url,
        "reachable": member.is_reachable,
        "swapping": member.is_swapping,
        "held": is_held,
        "has_production": production is not None and production in member.loaded,
        "loaded": sorted(loaded, key=lambda entry: str(entry["version"]), reverse=True),
        "last_swap": max(swaps, key=lambda entry: float(entry["loaded_at"] or 0), default=None),
        "in_flight": member.in_flight,
        "vitals": asdict(vital) if vital is not None else None,
        "error": member.error,
    }
