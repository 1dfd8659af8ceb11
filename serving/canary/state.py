"""A canary's records: what runs, what became of those that ended. Frozen; JSON in Redis and on the wire."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NewType

CanaryId = NewType("CanaryId", str)
NOT_GATED = "not_gated"  # the code of an error: this version has passed no gate

Status = Literal["running", "held"]  # held: it goes on, harm ends it, only an operator promotes it
Outcome = Literal["promoted", "rolled_back", "aborted", "superseded"]
OnEnd = Literal["hold", "promote"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a canary is judged by; fixed when it begins, so that all gateways judge alike."""

    alpha: float = 0.05  # share of false alarms, over all tests and for however long one looks
    min_s: float = 600.0  # not promoted sooner, seconds
    max_s: float = 259_200.0  # undecided after so many seconds: `on_end`
    on_end: OnEnd = "hold"
    pair_share: float = 0.5  # of the labelers' sets that both versions answer


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A version that answers a share of the people. Written by begin, and by who raises or holds it."""

    id: CanaryId
    version: str
    digest: str  # SHA-256 of its weights: it is these that are judged
    incumbent: str  # production when it began
    incumbent_digest: str
    share: float  # of the end users, 0 to 1
    started: float  # unix seconds
    actor: str
    reason: str
    limits: Limits = field(default_factory=Limits)
    status: Status = "running"
    override: str | None = None  # why it may run without a passed gate
    round_id: str | None = None
    since: dict[str, str] = field(default_factory=dict)  # kind -> last entry of the log before it


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A canary that is over. Kept for ever."""

    canary: Canary
    outcome: Outcome
    ended: float  # unix seconds
    actor: str  # `canary`: the test decided
    reason: str
    figures: dict[str, Any] | None = None  # serving.canary.figures as it was then
    verdict: dict[str, Any] | None = None


def dump(record: Canary | Ended) -> str:
    return json.dumps(asdict(record))


def load(data: bytes | str) -> Canary:
    return _canary(json.loads(data))


def load_ended(data: bytes | str) -> Ended:
    fields = json.loads(data)
    return Ended(**{**fields, "canary": _canary(fields["canary"])})


def _canary(fields: dict[str, Any]) -> Canary:
    return Canary(**{**fields, "limits": Limits(**fields["limits"])})
