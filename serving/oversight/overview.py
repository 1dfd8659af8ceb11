"""The state of everything on one page: what serves, what learns, what waits, what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from serving import health
from serving.canary.watch import judge, so_far
from serving.oversight import backlog, gates, learning, rounds
from serving.oversight.round_files import RoundFiles
from serving.refresh import AWAY
from serving.registry import CANARY, PREVIOUS, PRODUCTION, Live, PolicyRecord

if TYPE_CHECKING:
    from serving.gateway import Gateway

_JUDGE_S = 1.0  # a moderation server that hangs holds no page up
_TROUBLES_SHOWN = 10


async def read(gateway: Gateway) -> dict[str, Any]:
    """While Redis is away, what it alone knows is None."""
    live = gateway.refresher.live
    members = gateway.fleet.members
    try:
        kept = await asyncio.to_thread(_kept, gateway)
    except AWAY:
        kept = dict.fromkeys(("learning", "backlog", "round", "gate", "verdict"))
    return {
        "object": "overview",
        "production": _version(live.resolve(PRODUCTION)),
        "since": live.production_since or gateway.refresher.production_since,
        "previous": _version(live.policies.get(live.aliases.get(PREVIOUS, ""))),
        "canary": _canary(live, kept.pop("verdict")),
        "rollout": live.rollout.version if live.rollout is not None else None,
        "engines": {
            "reachable": sum(member.is_reachable for member in members),
            "all": len(members),
            "in_flight": sum(member.in_flight for member in members),
        },
        "waiting_for_engines": gateway.fleet.num_waiting(),
        "outbox": gateway.journal.depth(),
        "troubles": await _troubles(gateway),
        **kept,
    }


def _kept(gateway: Gateway) -> dict[str, Any]:
    client, files = gateway.redis, RoundFiles(gateway.settings.data_dir)
    found = rounds.newest(client, limit=1)
    newest = found["data"][0] if found["data"] else None
    number = rounds.number(newest["round_id"]) if newest else 0
    return {
        "verdict": _verdict(gateway),
        "learning": learning.read(client),
        "backlog": backlog.read(
            client,
            tenants=gateway.authenticator.tenants(),
            target=gateway.settings.labels_per_hour,
        ),
        "round": newest,
        "gate": gates.last(files, number),
    }


async def _troubles(gateway: Gateway) -> list[str]:
    """What /readyz says, and what engines say."""
    try:
        async with asyncio.timeout(_JUDGE_S):
            reasons, notes = await health.judge(gateway)
    except TimeoutError:
        reasons, notes = [], ["the moderation server does not answer"]
    of_engines = [
        f"{member.url}: {member.error}" for member in gateway.fleet.members if member.error
    ]
    return [*reasons, *notes, *of_engines][:_TROUBLES_SHOWN]


def _verdict(gateway: Gateway) -> dict[str, Any] | None:
    running = gateway.canaries.running()
    if running is None:
        return None
    return judge(running, so_far(gateway.canaries, running)).shown()


def _canary(live: Live, verdict: dict[str, Any] | None) -> dict[str, Any] | None:
    shown = _version(live.policies.get(live.aliases.get(CANARY, "")))
    if shown is None:
        return None
    running = live.canary
    return shown | {
        "share": running.share if running is not None else None,
        "status": running.status if running is not None else None,
        "verdict": {name: verdict[name] for name in ("action", "reason")} if verdict else None,
    }


def _version(record: PolicyRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    names = ("version", "kind", "digest", "parent", "round_id", "created")
    return {name: getattr(record, name) for name in names}
