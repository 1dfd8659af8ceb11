"""Logistic regression and the figures that judge it, in numpy. Deterministic.

Shapes: N samples, D dimensions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_MAX_STEPS = 50
_TOLERANCE = 1e-8  # relative fall of the loss at which Newton's method stops


def logistic(
    features_ND: Floats, labels_N: Flags, *, weights_N: Floats, l2: float
) -> tuple[Floats, float]:
    """Weights (D,) and bias of the L2-regularised fit, by Newton's method with step halving.

    Minimises sum(weights * log-loss) / sum(weights) + l2 / 2 * |w|²; the bias is not regularised.
    """
    design_NE = np.hstack([features_ND, np.ones((len(features_ND), 1))])
    share_N = weights_N / weights_N.sum()
    ridge_E = np.full(design_NE.shape[1], l2)
    ridge_E[-1] = 0.0
    theta_E = np.zeros(design_NE.shape[1])
    loss = _loss(design_NE, labels_N, share_N, ridge_E, theta_E)
    for _ in range(_MAX_STEPS):
        probability_N = sigmoid(design_NE @ theta_E)
        gradient_E = design_NE.T @ (share_N * (probability_N - labels_N)) + ridge_E * theta_E
        curvature_N = share_N * probability_N * (1 - probability_N)
        hessian_EE = (design_NE * curvature_N[:, None]).T @ design_NE
        hessian_EE += np.diag(ridge_E + 1e-12)
        step_E = np.linalg.solve(hessian_EE, gradient_E)
        theta_E, fallen = _descend(design_NE, labels_N, share_N, ridge_E, theta_E, step_E, loss)
        done = loss - fallen <= _TOLERANCE * loss
        loss = fallen
        if done:
            break
    return theta_E[:-1], float(theta_E[-1])


def balanced(labels_N: Flags, *, shares_N: Floats) -> Floats:
    """Weights that give both classes the same total; `shares_N` divides a text over its windows."""
    positive = shares_N[labels_N].sum()
    negative = shares_N[~labels_N].sum()
    return np.where(labels_N, shares_N / positive, shares_N / negative)


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def auc(scores_N: Floats, labels_N: Flags) -> float:
    """Area under the ROC curve: how often a positive scores above a negative; ties count half."""
    ordered = np.sort(scores_N[~labels_N])
    below = np.searchsorted(ordered, scores_N[labels_N], side="left")
    upto = np.searchsorted(ordered, scores_N[labels_N], side="right")
    return float((below + upto).mean() / 2 / len(ordered))


def average_precision(scores_N: Floats, labels_N: Flags) -> float:
    """Mean of the precision at every positive, from the highest score down."""
    ranked_N = labels_N[np.argsort(-scores_N, kind="stable")]
    precision_N = np.cumsum(ranked_N) / np.arange(1, len(ranked_N) + 1)
    return float(precision_N[ranked_N].mean())


def threshold_for(scores_N: Floats, *, false_positive_rate: float) -> float:
    """The lowest threshold that at most this share of (negative) scores reaches."""
    ordered = np.sort(scores_N)[::-1]
    allowed = int(false_positive_rate * len(ordered))
    return float(np.nextafter(ordered[allowed], np.inf)) if allowed < len(ordered) else -np.inf


def _descend(
    design_NE: Floats,
    labels_N: Flags,
    share_N: Floats,
    ridge_E: Floats,
    theta_E: Floats,
    step_E: Floats,
    loss: float,
) -> tuple[Floats, float]:
    # A full Newton step can overshoot where the classes are nearly separable.
    for halvings in range(30):
        tried_E = theta_E - step_E * 0.5**halvings
        fallen = _loss(design_NE, labels_N, share_N, ridge_E, tried_E)
        if fallen < loss:
            return tried_E, fallen
    return theta_E, loss


def _loss(
    design_NE: Floats, labels_N: Flags, share_N: Floats, ridge_E: Floats, theta_E: Floats
) -> float:
    logits_N = design_NE @ theta_E
    log_loss_N = np.logaddexp(0.0, logits_N) - logits_N * labels_N
    return float(share_N @ log_loss_N + 0.5 * (ridge_E * theta_E) @ theta_E)
