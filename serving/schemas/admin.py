"""Answers of the operator's routes for the OpenAPI page; as response_schemas, for nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class Policy(BaseModel):
    """A version."""

    version: str
    kind: str
    digest: str
    parent: str | None
    created: float


class EngineState(BaseModel):
    """What an engine has loaded."""

    url: str
    reachable: bool
    loaded: list[dict[str, Any]]


class RolloutState(BaseModel):
    """Full weights on their way to the engines, and what the aliases meant before."""

    version: str
    production: str
    previous: str | None
    started: float
    held: list[str]  # engines that get no requests


class LivePolicies(BaseModel):
    """What serves."""

    production: Policy | None
    canary: Policy | None
    previous: Policy | None
    rollout: RolloutState | None
    engines: list[EngineState]


class Key(BaseModel):
    """What is known of an API key, but not the key."""

    id: str
    name: str
    scopes: list[str]
    tenant: str
    created: float
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrent: int | None
    expires: float | None  # unix seconds; of a secret that was rotated out
    store: bool
    moderation: dict[str, dict[str, str]]  # prompt, completion -> category or `all` -> action


class MadeKey(Key):
    """The only time that the key itself is shown."""

    key: str


class KeyList(BaseModel):
    """All keys."""

    object: Literal["list"]
    data: list[Key]


class KeyDeleted(BaseModel):
    """It is forgotten."""

    id: str
    deleted: Literal[True]


class Webhook(BaseModel):
    """Where events are posted to."""

    id: str
    url: str
    events: list[str]
    created: float
    is_disabled: bool
    last_attempt: float | None
    last_outcome: str | None
    num_failed: int


class WebhookShown(Webhook):
    """Without its secret."""

    pending: int


class MadeWebhook(Webhook):
    """The only time that its secret is shown."""

    secret: str


class WebhookList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[WebhookShown]


class WebhookDeleted(BaseModel):
    """Nothing is posted there any more."""

    id: str
    deleted: Literal[True]


class WebhookTested(BaseModel):
    """What came of one event, posted now."""

    id: str
    delivered: bool
    outcome: str


class ErasureReport(BaseModel):
    """What was removed, and what was made with it before."""

    completions: int = 0
    judgements: int = 0
    kept_answers: int = 0
    left_archive: int = 0
    redis_files: dict[str, str] = {}
    snapshots: list[str] = []
    rounds: list[str] = []
    trained_versions: list[str] = []
    later_versions: list[str] = []
    outboxes: list[str] = []


class ErasureShown(BaseModel):
    """The removal of an end user; `report` is empty until it is done."""

    object: Literal["erasure"]
    id: str
    tenant: str
    person: str
    asked: float
    by: str
    status: Literal["queued", "done"]
    ended: float | None
    attempts: int
    error: str | None
    report: ErasureReport
