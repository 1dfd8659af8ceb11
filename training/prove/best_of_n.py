"""Best of n: what choosing among n answers by a proxy score gives, without training anything.

The curve that PPO's gain is laid beside (Gao et al., arXiv 2210.10760). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a policy gives for its distance from the reference, over prompts."""

    kl_nats: float  # per answer; of a best of n: at most
    gold: float
    gain: float  # over one answer of the reference
    standard_error: float  # of the gain, over prompts
    score: float  # the proxy's


def expected_best(chosen_by: Sequence[float], measured: Sequence[float], *, n: int) -> float:
    """Mean of `measured` at the highest `chosen_by`, over all subsets of n of the N answers.

    Unbiased for n fresh answers: the i-th lowest of N (from 1) is the best of C(i-1, n-1) subsets out of
    C(N, n) (Nakano et al., arXiv 2112.09332, appendix I).
    """
    num_answers = len(chosen_by)
    if not 1 <= n <= num_answers:
        raise ValueError(f"the best of {n} out of {num_answers} answers: 1 <= n <= {num_answers}")
    order = np.argsort(chosen_by, kind="stable")
    weights = [math.comb(i, n - 1) / math.comb(num_answers, n) for i in range(num_answers)]
    return float(np.dot(weights, np.asarray(measured, dtype=np.float64)[order]))


def max_kl_nats(n: int) -> float:
    """log n - (n-1)/n: what the best of n is from the reference at most (Beirami et al., arXiv
    2401.01879)."""
    return math.log(n) - (n - 1) / n


def curve(
    scores: Sequence[Sequence[float]], gold: Sequence[Sequence[float]], *, sizes: Sequence[int]
) -> dict[int, Point]:
    """The best of each n. Each argument: prompts × answers of the reference."""
    ones = np.array([expected_best(s, g, n=1) for s, g in zip(scores, gold, strict=True)])
    points = {}
    for n in sizes:
        best = np.array([expected_best(s, g, n=n) for s, g in zip(scores, gold, strict=True)])
        gain, error = paired_gain(ones.tolist(), best.tolist())
        points[n] = Point(
            kl_nats=max_kl_nats(n),
            gold=float(best.mean()),
            gain=gain,
            standard_error=error,
            score=float(np.mean([expected_best(s, s, n=n) for s in scores])),
        )
    return points


def paired_gain(old: Sequence[float], new: Sequence[float]) -> tuple[float, float]:
    """Mean of new - old over prompts, and its standard error."""
    differences = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    if len(differences) < 2:
        raise ValueError("a standard error takes two prompts at least")
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
