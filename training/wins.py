"""How often a candidate's answers are scored above the incumbent's, by prompt. Pure.

Scores are by prompt, then by answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from feedback.quality.intervals import Estimate, mean, share

Scores = Sequence[Sequence[float]]


def win_rate(ours: Scores, theirs: Scores) -> Estimate:
    """Share of (candidate, incumbent) pairs of a prompt that the candidate wins; a tie is half."""
    pairs = list(zip(ours, theirs, strict=True))
    wins = [_wins(mine, other) for mine, other in pairs]
    return share(wins, [len(mine) * len(other) for mine, other in pairs])


def gap(by_proxy: tuple[Scores, Scores], by_other: tuple[Scores, Scores]) -> Estimate:
    """Win rate by one judge less that by another, of the same answers; both are (candidate's, incumbent's)."""
    return mean([a - b for a, b in zip(by_prompt(*by_proxy), by_prompt(*by_other), strict=True)])


def by_prompt(ours: Scores, theirs: Scores) -> list[float]:
    """The candidate's share of each prompt's pairs."""
    return [
        _wins(mine, other) / (len(mine) * len(other))
        for mine, other in zip(ours, theirs, strict=True)
    ]


def _wins(mine: Sequence[float], other: Sequence[float]) -> float:
    return sum((a > b) + 0.5 * (a == b) for a in mine for b in other)
