"""How sure a figure is: intervals over independent units (prompts, rankings), never over their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_RESAMPLES = 2000
_AT_A_TIME = 100  # bounds memory: that many counts per unit are held


@dataclass(frozen=True, kw_only=True)
class Estimate:
    value: float
    low: float  # 95 % interval
    high: float
    num_units: int


def share(successes: Sequence[float], totals: Sequence[float]) -> Estimate:
    """A share sum(successes) / sum(totals) over units whose parts belong together (pairs of a ranking).

    Bootstrap over units. One unit that was all won and one all lost are added to what is resampled:
    without them ten won out of ten would have an interval of width zero.
    """
    counted = [(won, total) for won, total in zip(successes, totals, strict=True) if total > 0]
    if not counted:
        return Estimate(value=float("nan"), low=0.0, high=1.0, num_units=0)
    successes, totals = [won for won, _ in counted], [total for _, total in counted]
    typical = sum(totals) / len(totals)
    low, high = _ratio_bounds([*successes, typical, 0.0], [*totals, typical, typical])
    value = sum(successes) / sum(totals)
    return Estimate(value=value, low=min(low, value), high=max(high, value), num_units=len(totals))


def mean(values: Sequence[float]) -> Estimate:
    """A mean over units, bootstrap interval."""
    if not values:
        return Estimate(value=float("nan"), low=float("-inf"), high=float("inf"), num_units=0)
    low, high = _ratio_bounds(values, [1.0] * len(values))
    return Estimate(value=sum(values) / len(values), low=low, high=high, num_units=len(values))


def resampled_sums(columns: Floats) -> Floats:
    """[resamples, columns]: each column's sum over units [units, columns] drawn with replacement."""
    generator = np.random.default_rng(0)  # the same data give the same interval
    num_units = len(columns)
    sums = []
    for _ in range(_RESAMPLES // _AT_A_TIME):
        drawn = generator.integers(num_units, size=(_AT_A_TIME, num_units))
        counts = [np.bincount(row, minlength=num_units) for row in drawn]
        sums.append(np.stack(counts).astype(np.float64) @ columns)
    return np.concatenate(sums)


def bounds(draws: Floats) -> tuple[float, float]:
    """The 95 % interval of resampled values."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _ratio_bounds(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, float]:
    sums = resampled_sums(np.array([numerators, denominators], dtype=np.float64).T)
    return bounds(sums[:, 0] / sums[:, 1])
