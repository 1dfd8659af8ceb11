"""How a policy answers, apart from whether people like it: refusals, repetition, entropy. Pure.

A reward model that is being fooled often shows here first (Gao et al., arXiv 2210.10760; Skalse et al., 2209.13085).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from training.rollouts import Rollout

_GRAM = 3
_REFUSAL = re.compile(
    r"^\W*(?:i['’]?m (?:sorry|unable|not able|afraid)|i am (?:sorry|unable|not able|afraid)|i apologi[sz]e"
    r"|sorry,|unfortunately, i|i (?:can['’]?t|cannot|can not|won['’]?t|will not)\b|as an ai\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Manner:
    """Of one policy's answers, sampled at temperature 1."""

    refusals: float  # share of the answers that begin with one
    repetition: float  # share of an answer's token triples that it has said before, mean
    entropy_nats: float  # per token: minus the mean log-probability of what was sampled


def describe(rollouts: Sequence[Rollout]) -> Manner:
    """NaN where there is nothing to describe."""
    texts = [text for rollout in rollouts for text in rollout.texts]
    answers = [answer for rollout in rollouts for answer in rollout.group.answers]
    logprobs = [value for rollout in rollouts for answer in rollout.logprobs for value in answer]
    return Manner(
        refusals=_mean([float(is_refusal(text)) for text in texts]),
        repetition=_mean([repetition(answer) for answer in answers]),
        entropy_nats=-_mean(logprobs),
    )


def is_refusal(text: str) -> bool:
    """By how it begins, in English."""
    return _REFUSAL.match(text) is not None


def repetition(tokens: Sequence[int]) -> float:
    """Share of its triples that came before; 0 of an answer too short to have any."""
    triples = [tuple(tokens[i : i + _GRAM]) for i in range(len(tokens) - _GRAM + 1)]
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
