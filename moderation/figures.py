"""The figures that judge scores against labels, and the threshold that keeps a rate. Pure numpy.

Shapes: N texts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NUM_RESAMPLES = 200


def auc(scores_N: Floats, labels_N: Flags) -> float:
    """Area under the ROC curve: how often a positive scores above a negative; ties count half."""
    ordered = np.sort(scores_N[~labels_N])
    below = np.searchsorted(ordered, scores_N[labels_N], side="left")
    upto = np.searchsorted(ordered, scores_N[labels_N], side="right")
    return float((below + upto).mean() / 2 / len(ordered))


def average_precision(scores_N: Floats, labels_N: Flags) -> float:
    """Area under the precision-recall curve; texts of one score are taken together."""
    order = np.argsort(-scores_N, kind="stable")
    ranked_N, values_N = labels_N[order], scores_N[order]
    # Ties in favour of whoever stands first in the file would flatter a coarse scorer.
    last_of_tie = np.append(np.flatnonzero(np.diff(values_N)), len(values_N) - 1)
    found = np.cumsum(ranked_N)[last_of_tie]
    precision = found / (last_of_tie + 1)
    gained = np.diff(np.concatenate([[0], found]))
    return float((precision * gained).sum() / ranked_N.sum())


def interval(
    figure: Callable[[Floats, Flags], float], scores_N: Floats, labels_N: Flags, *, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of a figure over resampled texts; both kinds are resampled apart."""
    draw = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(labels_N), np.flatnonzero(~labels_N)
    drawn = []
    for _ in range(NUM_RESAMPLES):
        chosen = np.concatenate(
            [draw.choice(positive, len(positive)), draw.choice(negative, len(negative))]
        )
        drawn.append(figure(scores_N[chosen], labels_N[chosen]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def threshold_for(scores_N: Floats, *, false_positive_rate: float) -> float:
    """The lowest threshold that at most this share of (negative) scores reaches."""
    ordered = np.sort(scores_N)[::-1]
    allowed = int(false_positive_rate * len(ordered))
    return float(np.nextafter(ordered[allowed], np.inf)) if allowed < len(ordered) else -np.inf


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
