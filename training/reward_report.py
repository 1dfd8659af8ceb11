"""How well a reward model judges: accuracy by people, calibration of its probabilities, what was left out.

A margin is the score of the answer that the labeler liked better minus that of the other one, and
σ(margin) the model's probability of the labeler's verdict.
Shapes: M comparisons.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from feedback.quality.intervals import Estimate, Floats, share
from training.data import Ranking, Usable

HELDOUT_LABELERS = "heldout_labelers"  # a group of accuracy_by_group
_BINS = 10  # of equal width, between a coin toss and certainty
_MAX_LABELERS = 20  # who get a figure of their own
_TEMPERATURES = (0.01, 100.0)  # what a model that is always right, or never, comes to


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of probabilities on held-out comparisons. A coin toss has Brier score 0.25 and log loss 0.693."""

    num_comparisons: int
    expected_error: float  # |share decided rightly - mean confidence|, mean over bins of confidence
    brier: float
    log_loss: float  # nats
    temperature: (
        float  # margins divided by it have the least log loss: above 1 the model is too sure
    )
    expected_error_tempered: float
    log_loss_tempered: float


def judged(
    scores: Sequence[Sequence[float]], *, heldout: Sequence[Ranking], train: Sequence[Ranking]
) -> dict[str, Any]:
    """Everything the report says of held-out rankings with these scores.

    Labelers of whom nothing was trained on are the paper's held-out group. By chance, or since they are
    invited as such: those are a group by themselves, which the gate asks.
    """
    known = {r.labeler for r in train if r.labeler}
    places = [i for i, r in enumerate(heldout) if r.labeler]
    sizes = sorted({len(r.ranks) for r in heldout})
    by_k = {str(k): [i for i, r in enumerate(heldout) if len(r.ranks) == k] for k in sizes}
    groups = {
        "labelers_in_train": [i for i in places if heldout[i].labeler in known],
        "labelers_not_in_train": [i for i in places if heldout[i].labeler not in known],
        HELDOUT_LABELERS: [i for i, r in enumerate(heldout) if r.is_heldout_labeler],
    }
    most = Counter(heldout[i].labeler for i in places).most_common(_MAX_LABELERS)
    labelers = {name: [i for i in places if heldout[i].labeler == name] for name, _ in most}
    return {
        "accuracy": asdict(accuracy(scores, heldout)),
        "accuracy_by_group": _by(groups, scores, heldout),
        "accuracy_by_labeler": _by(labelers, scores, heldout),
        "accuracy_by_k": _by(by_k, scores, heldout),
        "calibration": _calibration(scores, heldout),
    }


def accuracy(scores: Sequence[Sequence[float]], rankings: Sequence[Ranking]) -> Estimate:
    """Share of comparisons decided as the labeler did; equal scores count half.

    The units are prompts: what several labelers said of one prompt belongs together.
    """
    right: defaultdict[tuple[int, ...], float] = defaultdict(float)
    total: defaultdict[tuple[int, ...], int] = defaultdict(int)
    for of_ranking, ranking in zip(scores, rankings, strict=True):
        margins_M = margins(of_ranking, ranking)
        right[ranking.group.prompt_ids] += float((margins_M > 0).sum() + (margins_M == 0).sum() / 2)
        total[ranking.group.prompt_ids] += len(margins_M)
    return share(list(right.values()), list(total.values()))


def lines(
    scores: Sequence[Sequence[float]], rankings: Sequence[Ranking]
) -> Iterator[dict[str, Any]]:
    """What an accuracy was computed from."""
    for of_ranking, ranking in zip(scores, rankings, strict=True):
        yield {
            "ranking": ranking.id,
            "labeler": ranking.labeler,
            "ranks": list(ranking.ranks),
            "scores": list(of_ranking),
        }


def margins(scores: Sequence[float], ranking: Ranking) -> Floats:
    """[M] of one ranking; ties have none."""
    scores_K, ranks_K = np.array(scores, dtype=np.float64), np.array(ranking.ranks)
    wins_KK = ranks_K[:, None] < ranks_K[None, :]
    margins_M: Floats = (scores_K[:, None] - scores_K[None, :])[wins_KK]
    return margins_M


def calibration(margins_M: Floats) -> Calibration:
    """Of at least one comparison."""
    best = _temperature(margins_M)
    return Calibration(
        num_comparisons=len(margins_M),
        expected_error=_expected_error(margins_M),
        brier=float(np.mean((1 - _sigmoid(margins_M)) ** 2)),
        log_loss=_log_loss(margins_M),
        temperature=best,
        expected_error_tempered=_expected_error(margins_M / best),
        log_loss_tempered=_log_loss(margins_M / best),
    )


def reliability(margins_M: Floats) -> list[dict[str, float]]:
    """How often it was right where it was so sure: a row for each bin of confidence that holds something."""
    confidence_M, right_M, bins_M = _binned(margins_M)
    rows = []
    for number in np.unique(bins_M):
        here_M = bins_M == number
        rows.append(
            {
                "confidence": float(confidence_M[here_M].mean()),
                "share_right": float(right_M[here_M].mean()),
                "num_comparisons": int(here_M.sum()),
            }
        )
    return rows


def counted(train: Usable, heldout: Usable) -> dict[str, Any]:
    """What there was to learn from and to judge by, and what was not."""
    counts: dict[str, Any] = {}
    for name, found in (("train", train), ("heldout", heldout)):
        counts |= {
            f"{name}_rankings": len(found.rankings),
            f"{name}_comparisons": sum(r.num_comparisons for r in found.rankings),
            f"{name}_ties_dropped": found.ties_dropped,
            f"{name}_left_out": found.left_out,
        }
    return counts


def reasons(found: Usable) -> str:
    """Why rankings were left out, for a message."""
    return ", ".join(f"{count} {why}" for why, count in sorted(found.left_out.items()))


def _by(
    places: dict[str, list[int]], scores: Sequence[Sequence[float]], rankings: Sequence[Ranking]
) -> dict[str, Any]:
    return {
        name: asdict(accuracy([scores[i] for i in chosen], [rankings[i] for i in chosen]))
        for name, chosen in places.items()
        if chosen
    }


def _calibration(
    scores: Iterable[Sequence[float]], rankings: Sequence[Ranking]
) -> dict[str, float] | None:
    found = [margins(s, r) for s, r in zip(scores, rankings, strict=True)]
    if not found:
        return None
    margins_M = np.concatenate(found)
    return asdict(calibration(margins_M)) | {"bins": reliability(margins_M)}


def _expected_error(margins_M: Floats) -> float:
    """Each comparison as the model sees it: its confidence in the favourite, and whether that one won."""
    confidence_M, right_M, bins_M = _binned(margins_M)
    gaps = np.bincount(bins_M, weights=right_M - confidence_M, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(margins_M))


def _binned(margins_M: Floats) -> tuple[Floats, Floats, Any]:
    """Confidence in the favourite, whether that one won, and the bin of the confidence."""
    confidence_M = _sigmoid(np.abs(margins_M))
    right_M = (margins_M > 0) + 0.5 * (margins_M == 0)
    bins_M = np.minimum((confidence_M - 0.5) * 2 * _BINS, _BINS - 1).astype(int)
    return confidence_M, right_M, bins_M


def _temperature(margins_M: Floats) -> float:
    """Where the log loss of σ(margin / temperature) is least: it is convex in 1 / temperature."""
    low, high = _TEMPERATURES
    for _ in range(40):
        middle = math.sqrt(low * high)
        is_too_sure = np.mean(margins_M * _sigmoid(-margins_M / middle)) < 0
        low, high = (middle, high) if is_too_sure else (low, middle)
    return math.sqrt(low * high)


def _log_loss(margins_M: Floats) -> float:
    return float(np.logaddexp(0, -margins_M).mean())


def _sigmoid(margins_M: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0, -margins_M))
    return found
