"""Which webhook events a record of the log amounts to. Pure.

An event's id comes from what it reports, not from chance: reading the log again, or a round that
recorded its end twice, gives the same id, by which a receiver knows a repeat.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from feedback.events import Audit, Event, RoundChanged

EVENT_TYPES = (
    *("policy.promoted", "policy.rolled_back", "canary.aborted"),
    *("gate.failed", "round.finished"),
)
KINDS = (RoundChanged.kind, Audit.kind)  # the streams they come from

_OF_ACTION = {"promote": "policy.promoted", "rollback": "policy.rolled_back"}
_ENDS = ("finished", "refused", "failed", "cancelled")
# What of a round's last record leaves the house: neither engines' addresses nor lines of a log.
_TOLD_OF_A_CANARY = ("version", "digest", "incumbent", "canary", "outcome", "reason")
_TOLD = ("kind", "version", "digest", "parent", "step", "failed_checks")


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """Something that a receiver is told."""

    id: str  # evt_…
    type: str  # of EVENT_TYPES
    created: float  # unix seconds
    data: dict[str, Any]

    def body(self) -> str:
        """What is posted and signed."""
        fields = {
            "id": self.id,
            "object": "event",
            "type": self.type,
            "created_at": int(self.created),
            "data": self.data,
        }
        return orjson.dumps(fields).decode()


def events_of(record: Event) -> list[WebhookEvent]:
    """None, for most records; a round that published is two: it ended, and a version went live."""
    if isinstance(record, Audit) and record.action in _OF_ACTION:
        data = {"version": record.detail["version"], "actor": record.actor, "round_id": None}
        return [_event(_OF_ACTION[record.action], record.id, record.created, data)]
    if isinstance(record, Audit) and record.action == "canary.abort":
        data = {name: record.detail[name] for name in _TOLD_OF_A_CANARY}
        return [
            _event("canary.aborted", record.id, record.created, {**data, "actor": record.actor})
        ]
    if isinstance(record, RoundChanged) and record.what in _ENDS:
        return _of_round(record)
    return []


def _of_round(record: RoundChanged) -> list[WebhookEvent]:
    round_id, detail = record.round_id, record.detail
    told = {name: detail[name] for name in _TOLD if name in detail}
    ended = {"round_id": round_id, "status": record.what, **told}
    # By its record, which is in the log once: a round that is retried ends again, and that is news.
    events = [_event("round.finished", record.id, record.created, ended)]
    if record.what == "refused":
        refused = {"round_id": round_id, **told}
        events.insert(0, _event("gate.failed", record.id, record.created, refused))
    # As a canary it answers a share of the people; once promoted the audit says so.
    is_policy = detail.get("kind") != "moderation" and detail.get("canary") is None
    if record.what == "finished" and "version" in told and is_policy:
        live = {"version": told["version"], "actor": None, "round_id": round_id}
        events.insert(0, _event("policy.promoted", record.id, record.created, live))
    return events


def _event(type_: str, source: str, created: float, data: dict[str, Any]) -> WebhookEvent:
    digest = hashlib.sha256(f"{type_}:{source}".encode()).hexdigest()
    return WebhookEvent(id=f"evt_{digest[:32]}", type=type_, created=created, data=data)
