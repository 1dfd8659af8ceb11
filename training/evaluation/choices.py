"""Texts to choose from, and what a model's log-probabilities say of them. Pure.

The paper: multiple choice by the mean log-probability of a token; bias by the entropy of the choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Continuations of one prompt; an empty prompt means whole texts."""

    prompt: str
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Of one text behind its prompt."""

    nats: float  # log-probability of the whole text
    num_tokens: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.num_tokens


Score = Callable[[Sequence[Choices]], list[list[Likelihood]]]  # a model: a likelihood per text


def probabilities(nats: Sequence[float]) -> list[float]:
    """Of the choices among themselves."""
    highest = max(nats)
    weights = [math.exp(each - highest) for each in nats]
    return [weight / sum(weights) for weight in weights]


def entropy_bits(nats: Sequence[float]) -> float:
    """Of the choices among themselves: 0 for certainty, log2(n) for n that are equally likely."""
    return -sum(p * math.log2(p) for p in probabilities(nats) if p > 0)
