"""Versions of moderation's classifier: which serves and since when, what their gate said; promoted, rolled back.

Servers of moderation follow the registry within a second; no request waits, and each is judged by one version.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from feedback import keys
from feedback.errors import NotFound
from moderation.versions import LiveModeration, ModerationRecord, Versions
from serving.lineage import round_facts
from serving.oversight import gates
from serving.oversight.round_files import RoundFiles, read_json

if TYPE_CHECKING:
    from serving.gateway import Gateway

_NUM_SHOWN = 200  # versions, newest first
_CHANGES_SHOWN = 20


async def promote(
    gateway: Gateway, version: str, *, actor: str, reason: str = ""
) -> ModerationRecord:
    """Have every moderation server serve a version. Raises NotFound."""
    versions = Versions(gateway.redis)
    record = await asyncio.to_thread(versions.promote, version, by=actor, reason=reason)
    await gateway.audit(actor, "moderation.promote", version=record.version, reason=reason)
    return record


async def roll_back(
    gateway: Gateway, *, actor: str, reason: str = "", production: str | None = None
) -> ModerationRecord:
    """Have them serve the previous one again. With `production` it takes over from that one. Raises Conflict."""
    versions = Versions(gateway.redis)
    record = await asyncio.to_thread(
        versions.roll_back, by=actor, reason=reason, production=production
    )
    await gateway.audit(actor, "moderation.rollback", version=record.version, reason=reason)
    return record


async def newest(gateway: Gateway) -> dict[str, Any]:
    """The versions, newest first, which one is wanted, and which model the server says that it serves."""
    found = await asyncio.to_thread(_newest, gateway)
    about = await gateway.moderation.about(max_age_s=1.0)
    return found | {"serving": about["model"] if about else None}


def one(gateway: Gateway, version: str) -> dict[str, Any]:
    """A version with its gate's report, and why an operator took it though the gate said no. Raises NotFound."""
    files, live = RoundFiles(gateway.settings.data_dir), Versions(gateway.redis).live()
    record = live.versions.get(version)
    if record is None:
        raise NotFound(
            f"there is no {version}; `hone moderation versions` shows what there is",
            param="version",
        )
    folder = files.folder(record.round_id or "")
    return _row(files, live, record) | {
        "children": [
            name for name, other in live.versions.items() if other.parent == record.version
        ],
        "gate_report": gates.report(files, record.round_id or "", with_texts=False),
        "override": round_facts.override_of(folder) if folder is not None else None,
        "num_said": _num_said(record),
    }


def show(record: ModerationRecord) -> dict[str, Any]:
    """What is told of a version: not where it lies."""
    fields = asdict(record)
    del fields["path"]
    return fields


def _newest(gateway: Gateway) -> dict[str, Any]:
    versions, files = Versions(gateway.redis), RoundFiles(gateway.settings.data_dir)
    live, history = versions.live(), versions.history(count=_CHANGES_SHOWN)
    rows = [live.versions[name] for name in sorted(live.versions, reverse=True)]
    return {
        "object": "list",
        "data": [_row(files, live, record) for record in rows[:_NUM_SHOWN]],
        "production": live.production,
        "previous": live.previous,
        "since": history[0].created if history else None,
        "history": [asdict(change) for change in history],
        **_corrections(gateway.redis),
    }


def _row(files: RoundFiles, live: LiveModeration, record: ModerationRecord) -> dict[str, Any]:
    meant = {"production": live.production, "previous": live.previous}
    return {
        **show(record),
        "aliases": [alias for alias, version in meant.items() if version == record.version],
        "gate": gates.verdict(files, record.round_id) if record.round_id else None,
    }


def _corrections(client: redis.Redis) -> dict[str, Any]:
    """How many are new, and how many start a round, as the control worker last counted them."""
    counted = cast("dict[bytes, bytes]", client.hgetall(keys.CORRECTIONS_COUNTED))
    return {
        "new_corrections": int(counted.get(b"count", 0)),
        "starts_at": int(counted[b"wanted"]) if b"wanted" in counted else None,
    }


def _num_said(record: ModerationRecord) -> int | None:
    """How many texts of people it learnt from."""
    report = read_json(Path(record.path) / "report.json") if record.path else None
    return report.get("num_said") if report is not None else None
