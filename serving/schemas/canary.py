"""Answers of the canary's routes for the OpenAPI page, and for nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class CanaryLimits(BaseModel):
    """What it is judged by."""

    alpha: float
    min_s: float
    max_s: float
    on_end: Literal["hold", "promote"]
    pair_share: float


class CanaryShown(BaseModel):
    """A version that answers a share of the people."""

    id: str
    version: str
    digest: str
    incumbent: str
    incumbent_digest: str
    share: float
    started: float
    actor: str
    reason: str
    limits: CanaryLimits
    status: Literal["running", "held"]
    override: str | None
    round_id: str | None


class Quantiles(BaseModel):
    """Of times, milliseconds."""

    p50: float
    p95: float


class ArmFigures(BaseModel):
    """How one version answered those whom the hash drew for it."""

    answers: int
    errors: int
    flags: int
    thumbs_up: int
    thumbs_down: int
    error_rate: float | None
    flag_rate: float | None
    thumbs_down_rate: float | None  # of all thumbs
    mean_chars: float | None
    latency_ms: Quantiles | None
    first_token_ms: Quantiles | None


class PairFigures(BaseModel):
    """Blind comparisons of both versions; `win_rate` is the canary's, ties half."""

    votes: int
    people: int
    people_counted: int  # whose votes are complete, and count in the tests
    wins: float
    losses: float
    ties: int
    win_rate: float | None
    low: float  # of the mean over people; holds at every moment at once
    high: float


class CanaryFigures(BaseModel):
    """Both arms, and the pairs."""

    canary: ArmFigures
    production: ArmFigures
    pairs: PairFigures


class CanaryTest(BaseModel):
    """One of the five sequential tests: it speaks when `e_value` reaches `needed`."""

    name: Literal["errors", "flags", "thumbs_down", "pairs_lost", "pairs_won"]
    e_value: float
    needed: float
    people: int


class CanaryVerdict(BaseModel):
    """What the tests say."""

    action: Literal["promote", "hold", "roll_back"]
    reason: str
    is_final: bool
    tests: list[CanaryTest]


class CanaryEnded(CanaryShown):
    """One that is over."""

    outcome: Literal["promoted", "rolled_back", "aborted", "superseded"]
    ended: float
    ended_by: str
    end_reason: str
    figures: dict[str, Any] | None
    verdict: dict[str, Any] | None


class CanaryOverview(BaseModel):
    """The canary that runs, its figures, and all before it, the newest first."""

    object: Literal["canary"]
    running: CanaryShown | None
    figures: CanaryFigures | None
    verdict: CanaryVerdict | None
    history: list[CanaryEnded]
