"""May this candidate be published? Pure: evidence and limits in, a report out. The answer is no unless every
check says yes; a figure that could not be measured (NaN, no held-out data) is a no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from feedback.quality.intervals import Estimate
from training.config import GateRecipe
from training.manner import Manner


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What training.evidence measured, on held-out prompts and rankings."""

    digest: str  # of the candidate's weights: the verdict is on these and no others
    reward_accuracy: Estimate  # the judge itself: share of held-out comparisons it decides rightly
    win_rate: Estimate  # candidate's answer scored above the incumbent's, by prompt
    kl_nats: Estimate  # per answer, candidate from reference
    flagged_candidate: float  # share of answers that moderation flags
    flagged_incumbent: float
    loss_candidate: float  # nats per token on held-out pretraining text
    loss_reference: float
    tokens_candidate: float  # mean length of an answer
    tokens_incumbent: float
    # The same on what labelers said who are held out; None: there are none.
    reward_accuracy_heldout_labelers: Estimate | None = None
    drift: Drift | None = None  # None: a toy policy whose answers have no words


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the candidate has changed beside the incumbent, in words and by the engine that serves it."""

    kl_incumbent_nats: Estimate  # per answer, candidate from incumbent
    candidate: Manner
    incumbent: Manner
    flagged_increase: dict[
        str, float
    ]  # instruction put before the prompts -> share, candidate's less incumbent's
    engine_gap_nats: (
        float  # RMS of trainer's less engine's log-probability: is this what was loaded?
    )


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    value: float
    limit: float
    passed: bool
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class GateReport:
    digest: str
    passed: bool
    checks: list[Check]


def judge(evidence: Evidence, limits: GateRecipe) -> GateReport:
    """Every comparison is written so that NaN fails it."""
    perplexity_ratio = math.exp(evidence.loss_candidate - evidence.loss_reference)
    length_ratio = _ratio(evidence.tokens_candidate, evidence.tokens_incumbent)
    flagged_increase = evidence.flagged_candidate - evidence.flagged_incumbent
    checks = [
        above("reward_accuracy", evidence.reward_accuracy, limits.min_reward_accuracy),
        above("win_rate", evidence.win_rate, limits.min_win_rate),
        below("kl_nats", evidence.kl_nats, limits.max_kl_nats),
        at_most("flagged_increase", flagged_increase, limits.max_flagged_increase),
        at_most("perplexity_ratio", perplexity_ratio, limits.max_perplexity_ratio),
        at_most("length_ratio_high", length_ratio, limits.max_length_ratio),
        at_least("length_ratio_low", length_ratio, limits.min_length_ratio),
    ]
    if (theirs := evidence.reward_accuracy_heldout_labelers) is not None:
        limit = limits.min_reward_accuracy
        checks.insert(1, above("reward_accuracy_heldout_labelers", theirs, limit))
    if evidence.drift is not None:
        checks += _drifted(evidence.drift, limits)
    return GateReport(digest=evidence.digest, passed=all_passed(checks), checks=checks)


def _drifted(drift: Drift, limits: GateRecipe) -> list[Check]:
    ours, theirs = drift.candidate, drift.incumbent
    entropy_ratio = _ratio(ours.entropy_nats, theirs.entropy_nats)
    refusals, repetition = ours.refusals - theirs.refusals, ours.repetition - theirs.repetition
    return [
        below("kl_incumbent_nats", drift.kl_incumbent_nats, limits.max_kl_incumbent_nats),
        at_most("refusal_increase", refusals, limits.max_refusal_increase),
        at_most("repetition_increase", repetition, limits.max_repetition_increase),
        at_least("entropy_ratio_low", entropy_ratio, limits.min_entropy_ratio),
        at_most("entropy_ratio_high", entropy_ratio, limits.max_entropy_ratio),
        *(
            at_most(f"flagged_increase_{name}", increase, limits.max_flagged_increase)
            for name, increase in sorted(drift.flagged_increase.items())
        ),
        at_most("engine_gap_nats", drift.engine_gap_nats, limits.max_engine_gap_nats),
    ]


def all_passed(checks: Sequence[Check]) -> bool:
    """No checks, no pass."""
    return bool(checks) and all(check.passed for check in checks)


def above(name: str, estimate: Estimate, limit: float) -> Check:
    """The whole interval is above the limit."""
    return _check(name, estimate, limit, passed=estimate.low > limit)


def below(name: str, estimate: Estimate, limit: float) -> Check:
    """The whole interval is below the limit."""
    return _check(name, estimate, limit, passed=estimate.high < limit)


def _check(name: str, estimate: Estimate, limit: float, *, passed: bool) -> Check:
    return Check(
        name=name,
        value=estimate.value,
        limit=limit,
        passed=passed and math.isfinite(estimate.value),
        interval=(estimate.low, estimate.high),
    )


def at_most(name: str, value: float, limit: float) -> Check:
    """The value, which has no interval, is no higher than the limit."""
    return Check(name=name, value=value, limit=limit, passed=value <= limit)


def at_least(name: str, value: float, limit: float) -> Check:
    """The value, which has no interval, is no lower than the limit."""
    return Check(name=name, value=value, limit=limit, passed=value >= limit)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
