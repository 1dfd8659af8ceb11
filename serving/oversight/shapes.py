"""Answers of the oversight routes for the OpenAPI document; as response schemas, for nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class PolicyShown(BaseModel):
    """A version with its gate's verdict."""

    version: str
    kind: str
    digest: str
    parent: str | None
    round_id: str | None
    created: float
    aliases: list[str]
    gate: dict[str, Any] | None


class PolicyPage(BaseModel):
    """Versions, newest first."""

    object: Literal["list"]
    data: list[PolicyShown]
    has_more: bool
    num_versions: int


class PolicyWithGate(PolicyShown):
    """A version with its gate report."""

    children: list[str]
    gate_report: dict[str, Any] | None


class Overview(BaseModel):
    """The state of everything; what only Redis knows is null while it is away."""

    object: Literal["overview"]
    production: dict[str, Any] | None
    since: float | None
    previous: dict[str, Any] | None
    canary: dict[str, Any] | None
    rollout: str | None
    engines: dict[str, int]
    waiting_for_engines: int
    outbox: int
    troubles: list[str]
    learning: dict[str, Any] | None
    backlog: dict[str, Any] | None
    round: dict[str, Any] | None
    gate: dict[str, Any] | None


class EngineShown(BaseModel):
    """An engine, as this gateway last saw it."""

    url: str
    reachable: bool
    swapping: bool
    held: bool
    has_production: bool
    loaded: list[dict[str, Any]]
    last_swap: dict[str, Any] | None
    in_flight: int
    vitals: dict[str, Any] | None
    error: str | None


class EngineList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[EngineShown]


class AuditEntry(BaseModel):
    """Somebody changed something."""

    entry: str
    id: str
    created: float
    actor: str
    action: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """Changes, newest first."""

    object: Literal["list"]
    data: list[AuditEntry]
    has_more: bool


class SettingsOfPackage(BaseModel):
    """The settings of one package."""

    package: str
    settings: list[dict[str, Any]]


class SettingsShown(BaseModel):
    """Settings of this gateway, secrets masked."""

    object: Literal["settings"]
    data: list[SettingsOfPackage]


class Learning(BaseModel):
    """Whether rounds may start."""

    object: Literal["learning"]
    paused: dict[str, Any] | None
    new_judgements: int
    starts_at: int | None
    active: str | None
    requested: dict[str, Any] | None
    waits_for: str | None


class RoundState(BaseModel):
    """A round, as the workers last wrote it."""

    round_id: str


class RoundPage(BaseModel):
    """The newest ones, or those before a number."""

    object: Literal["list"]
    data: list[RoundState]
    has_more: bool
    active: str | None
    requested: dict[str, Any] | None


class RoundRequested(BaseModel):
    """It is taken up when none is under way."""

    object: Literal["round_request"]
    reason: str
    by: str
    requested: float
    supersedes: str | None


class RoundShown(RoundState):
    """A round with the reports of its steps."""

    object: Literal["round"]
    progress: dict[str, Any]
    steps: dict[str, float | None]
    reward_report: dict[str, Any] | None
    gate_report: dict[str, Any] | None


class RoundCurves(BaseModel):
    """Metrics by step and name: pairs of iteration and value."""

    object: Literal["curves"]
    round_id: str
    steps: dict[str, dict[str, list[list[float]]]]


class RoundLog(BaseModel):
    """The end of a step's log."""

    object: Literal["log"]
    round_id: str
    step: str
    text: str


class ModerationVersion(BaseModel):
    """A version of moderation's classifier."""

    version: str
    digest: str  # empty: on board
    parent: str | None
    round_id: str | None
    created: float


class ModerationVersionShown(ModerationVersion):
    """A version with its gate's verdict."""

    aliases: list[str]
    gate: dict[str, Any] | None


class ModerationVersionWithGate(ModerationVersionShown):
    """A version with its gate's report."""

    children: list[str]
    gate_report: dict[str, Any] | None
    override: dict[str, Any] | None  # why it was published though the gate said no
    num_said: int | None  # texts of people that it learnt from


class ModerationChange(BaseModel):
    """Another version was made to serve."""

    version: str
    by: str
    reason: str
    created: float


class ModerationVersions(BaseModel):
    """All of them, newest first, and which one judges."""

    object: Literal["list"]
    data: list[ModerationVersionShown]
    production: str  # what every server is to serve
    previous: str | None
    since: float | None  # null: nothing but what is on board has served
    serving: str | None  # the model that the server names in its answers
    history: list[ModerationChange]  # newest first
    new_corrections: int
    starts_at: int | None  # so many of them start a round
