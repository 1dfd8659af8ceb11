"""May this candidate be published? Pure: evidence and limits in, a report out. The answer is no unless every
check says yes; a figure that could not be measured (NaN, no held-out data) is a no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from feedback.quality.intervals import Estimate, mean, share
from training.config import GateRecipe
from training.manner import Manner


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What training.evidence measured, on held-out prompts and rankings."""

    digest: str  # of the candidate's weights: the verdict is on these and no others
    reward_accuracy: Estimate  # the judge itself: share of held-out comparisons it decides rightly
    win_rate: Estimate  # candidate's answer scored above the incumbent's, by prompt
    kl_nats: Estimate  # per answer, candidate from reference
    flagged_increase: (
        Estimate  # share of answers that moderation flags, candidate's less incumbent's
    )
    loss_candidate: float  # nats per token on held-out pretraining text
    loss_reference: float
    tokens_candidate: float  # mean length of an answer
    tokens_incumbent: float
    # The same on what labelers said who are held out; None: there are none.
    reward_accuracy_heldout_labelers: Estimate | None = None
    drift: Drift | None = None  # None: a toy policy whose answers have no words
    independent: Independent | None = None  # None: the recipe asks for no second reward model
    public: dict[str, Estimate] = field(default_factory=dict)  # by how much it is worse, by measure
    people: Estimate | None = None  # win rate by people who met both; None: nobody has


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the candidate has changed beside the incumbent, in words and by the engine that serves it."""

    kl_incumbent_nats: Estimate  # per answer, candidate from incumbent
    candidate: Manner
    incumbent: Manner
    flagged_increase: dict[str, Estimate]  # the same by the instruction put before the prompts
    engine_gap_nats: (
        float  # RMS of trainer's less engine's log-probability: is this what was loaded?
    )


@dataclass(frozen=True, kw_only=True)
class Independent:
    """What a second reward model says, which learnt from other people: does the first one only please itself?"""

    accuracy: Estimate  # of that judge, on what the first one learnt from
    win_rate: Estimate  # as above, by it
    proxy_gap: Estimate  # the first one's win rate less this one's, by prompt
    why_not: str = ""  # why there are no figures


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    value: float
    limit: float
    passed: bool
    interval: tuple[float, float] | None = None
    note: str = ""  # for who reads it: why there is no figure
    evidence: str = ""  # the file in the round's folder that the figure is from


@dataclass(frozen=True, kw_only=True)
class GateReport:
    digest: str
    passed: bool
    checks: list[Check]


NO_OPINION = Independent(
    accuracy=share([], []), win_rate=share([], []), proxy_gap=mean([]), why_not="nobody measured it"
)


_ANSWERS = "gate/answers.jsonl"
_FILES = {
    "reward_accuracy": "reward/heldout.jsonl",
    "perplexity_ratio": "gate/pretraining.jsonl",
    "independent_accuracy": "independent/judged.jsonl",
    "people_win_rate": "gate/people.jsonl",
}


def judge(evidence: Evidence, limits: GateRecipe) -> GateReport:
    """Every comparison is written so that NaN fails it."""
    perplexity_ratio = math.exp(evidence.loss_candidate - evidence.loss_reference)
    length_ratio = _ratio(evidence.tokens_candidate, evidence.tokens_incumbent)
    checks = [
        above("reward_accuracy", evidence.reward_accuracy, limits.min_reward_accuracy),
        above("win_rate", evidence.win_rate, limits.min_win_rate),
        below("kl_nats", evidence.kl_nats, limits.max_kl_nats),
        _no_rise("flagged_increase", evidence.flagged_increase, limits.max_flagged_increase),
        at_most("perplexity_ratio", perplexity_ratio, limits.max_perplexity_ratio),
        at_most("length_ratio_high", length_ratio, limits.max_length_ratio),
        at_least("length_ratio_low", length_ratio, limits.min_length_ratio),
    ]
    if (theirs := evidence.reward_accuracy_heldout_labelers) is not None:
        limit = limits.min_reward_accuracy
        checks.insert(1, above("reward_accuracy_heldout_labelers", theirs, limit))
    if evidence.drift is not None:
        checks += _drifted(evidence.drift, limits)
    if limits.independent_reward:
        checks += _second_opinion(evidence.independent or NO_OPINION, limits)
    checks += [
        _not_worse(name, found, limits.max_public_regression)
        for name, found in evidence.public.items()
    ]
    checks.append(_by_people(evidence.people, limits.min_people_win_rate))
    named = [replace(check, evidence=_file_of(check.name)) for check in checks]
    return GateReport(digest=evidence.digest, passed=all_passed(checks), checks=named)


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
            _no_rise(f"flagged_increase_{name}", increase, limits.max_flagged_increase)
            for name, increase in sorted(drift.flagged_increase.items())
        ),
        at_most("engine_gap_nats", drift.engine_gap_nats, limits.max_engine_gap_nats),
    ]


def _second_opinion(found: Independent, limits: GateRecipe) -> list[Check]:
    checks = [
        above("independent_accuracy", found.accuracy, limits.min_reward_accuracy),
        above("independent_win_rate", found.win_rate, limits.min_independent_win_rate),
        below("proxy_gap", found.proxy_gap, limits.max_proxy_gap),
    ]
    return [replace(check, note=found.why_not) for check in checks]


def _by_people(found: Estimate | None, limit: float) -> Check:
    """A veto: most candidates have answered nobody yet, which speaks against none of them."""
    name = "people_win_rate"
    if found is None:
        return Check(name=name, value=math.nan, limit=limit, passed=True, note="no judgements yet")
    return _check(name, found, limit, passed=found.high >= limit)


def _not_worse(name: str, found: Estimate, limit: float) -> Check:
    """No significant regression: the interval is not wholly above what is tolerated."""
    return _check(name, found, limit, passed=found.low <= limit)


def _no_rise(name: str, found: Estimate, limit: float) -> Check:
    """The value itself, not its interval: what chance may explain is refused too."""
    return _check(name, found, limit, passed=found.value <= limit)


def _file_of(name: str) -> str:
    return "gate/public.jsonl" if name.startswith("worse_") else _FILES.get(name, _ANSWERS)


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
