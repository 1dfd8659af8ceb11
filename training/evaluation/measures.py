"""What is measured of a policy, and how two policies differ on it. Pure.

A measure has a value for each unit (a question, a pair, a text), in the same order for every policy, so that
policies are compared unit by unit: what is hard is hard for both, and their difference is known better than
either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from feedback.quality.intervals import Estimate, mean, share

Values = dict[str, list[float]]  # measure -> a value per unit; NaN: this unit has none
Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "same"]
WIN_RATE, PEOPLE_WIN_RATE = "preference/win_rate", "people/win_rate"
Unit = Literal["share", "bits", "nats/token", "score", "Likert"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A row of the report."""

    name: str  # "<suite>/<measure>"
    title: str
    unit: Unit
    better: Better
    is_paired: bool = True  # False: a value is no property of the same unit for every policy


def _measures() -> Iterator[Measure]:
    def row(name: str, unit: Unit, better: Better, title: str) -> Measure:
        return Measure(name=name, title=title, unit=unit, better=better)

    judge, won = "an independent reward model", "win rate against the baseline"
    yield replace(row(WIN_RATE, "share", "higher", f"{won}, by {judge}"), is_paired=False)
    yield row("preference/score", "score", "higher", f"score by {judge}")
    yield replace(row(PEOPLE_WIN_RATE, "share", "higher", f"{won}, by people"), is_paired=False)
    yield replace(
        row("people/likert", "Likert", "higher", "Likert 1–7, by people"), is_paired=False
    )
    for part, prompt in (("", "QA prompt"), ("instructed_", "instruction + QA")):
        nearer = f"TruthfulQA, {prompt}: nearer to a right answer (ROUGE-1)"
        yield row(f"truthfulqa/{part}truthful", "share", "higher", nearer)
        said = f"TruthfulQA, {prompt}: that, and not “I have no comment”"
        yield row(f"truthfulqa/{part}truthful_informative", "share", "higher", said)
    yield row(
        "truthfulqa/mc1", "share", "higher", "TruthfulQA MC1: the best answer before all wrong"
    )
    yield row(
        "truthfulqa/mc2", "score", "higher", "TruthfulQA MC2: probability of the right answers"
    )
    for instruction in ("plain", "respectful", "biased"):
        what = f"RealToxicityPrompts, {instruction}"
        yield row(
            f"toxicity/{instruction}_flagged", "share", "lower", f"{what}: moderation flags it"
        )
        yield row(f"toxicity/{instruction}_score", "score", "lower", f"{what}: moderation score")
    yield row("bias/winogender", "bits", "higher", "Winogender: entropy of he or she")
    yield row("bias/crows_pairs", "bits", "higher", "CrowS-Pairs: entropy of the pair")
    lean = "CrowS-Pairs: the stereotype is likelier (0.5: no lean)"
    yield row("bias/crows_pairs_stereotype", "share", "lower", lean)
    yield row("tax/text", "nats/token", "lower", "loss on text that nothing was trained on")
    yield row("tax/pretraining", "nats/token", "lower", "loss on held-out pretraining text")
    yield row("public/nq_open_f1", "score", "higher", "NQ-Open (QA), 5 shots: F1 of the words")
    yield row("public/boolq_accuracy", "share", "higher", "BoolQ (reading), 2 shots: right")
    yield row("public/xsum_rouge_l", "score", "higher", "XSum (summarising), 1 shot: ROUGE-L")


MEASURES: dict[str, Measure] = {measure.name: measure for measure in _measures()}


def estimate(name: str, values: Sequence[float]) -> Estimate:
    """Mean over units with its 95 % interval; a share's never has width zero."""
    known = [value for value in values if not math.isnan(value)]
    if MEASURES[name].unit == "share":
        return share(known, [1.0] * len(known))
    return mean(known)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Mean of ours minus theirs over the units that both have. Raises ValueError for other units."""
    pairs = zip(ours, theirs, strict=True)
    return mean([a - b for a, b in pairs if not (math.isnan(a) or math.isnan(b))])


def differences(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> dict[str, Estimate]:
    """Of every measure that both have unit by unit."""
    return {
        name: difference(ours[name], theirs[name])
        for name in ours
        if name in theirs and MEASURES[name].is_paired
    }


def regressions(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> dict[str, Estimate]:
    """The same, with a sign by which more is worse: what a gate bounds from above."""
    found = {}
    for name, found_difference in differences(ours, theirs).items():
        found[name] = _negated(found_difference) if is_better_high(name) else found_difference
    return found


def is_better_high(name: str) -> bool:
    return MEASURES[name].better == "higher"


def verdict(name: str, found: Estimate) -> Verdict:
    """What a difference says; "same" where its interval holds 0."""
    if found.low <= 0 <= found.high or math.isnan(found.value):
        return "same"
    return "better" if (found.value > 0) == is_better_high(name) else "worse"


def won(found: Estimate) -> Verdict:
    """What a win rate says; "same" where its interval holds a half."""
    above = Estimate(
        value=found.value - 0.5,
        low=found.low - 0.5,
        high=found.high - 0.5,
        num_units=found.num_units,
    )
    return verdict(WIN_RATE, above)


def _negated(found: Estimate) -> Estimate:
    return Estimate(value=-found.value, low=-found.high, high=-found.low, num_units=found.num_units)
