"""How sure a figure is: intervals over independent units (prompts, rankings), never over their parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_RESAMPLES = 2000


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
    if not totals:
        return Estimate(value=float("nan"), low=0.0, high=1.0, num_units=0)
    typical = sum(totals) / len(totals)
    won, all_ = [*successes, typical, 0.0], [*totals, typical, typical]
    low, high = _bootstrap(len(all_), lambda picked: _ratio(won, all_, picked))
    value = sum(successes) / sum(totals)
    return Estimate(value=value, low=min(low, value), high=max(high, value), num_units=len(totals))


def mean(values: Sequence[float]) -> Estimate:
    """A mean over units, bootstrap interval."""
    if not values:
        return Estimate(value=float("nan"), low=float("-inf"), high=float("inf"), num_units=0)
    ones = [1.0] * len(values)
    low, high = _bootstrap(len(values), lambda picked: _ratio(values, ones, picked))
    return Estimate(value=sum(values) / len(values), low=low, high=high, num_units=len(values))


def _ratio(numerators: Sequence[float], denominators: Sequence[float], picked: list[int]) -> float:
    return sum(numerators[i] for i in picked) / sum(denominators[i] for i in picked)


def _bootstrap(num_units: int, statistic: Callable[[list[int]], float]) -> tuple[float, float]:
    generator = random.Random(0)  # the same data give the same interval
    units = range(num_units)
    draws = sorted(statistic(generator.choices(units, k=num_units)) for _ in range(_RESAMPLES))
    return draws[int(0.025 * _RESAMPLES)], draws[int(0.975 * _RESAMPLES) - 1]
