"""Figures as places on a drawing, for inline SVG. Pure; units are the drawing's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 82, 14, 40  # right: the names of the reference lines
_MAX_WEEKS = 12


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value with its interval at one place across; y grows downwards."""

    x: float
    y: float
    low: float  # y of the interval's lower end
    high: float
    label: str  # under the axis
    note: str  # the figures in words


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    chance: float  # y of what there is without bias
    label: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    y: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    ticks: Sequence[Tick]
    marks: Sequence[Mark] = ()
    bars: Sequence[Bar] = ()
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM

    @property
    def path(self) -> str:
        """The marks joined, as SVG's `points`."""
        return " ".join(f"{mark.x},{mark.y}" for mark in self.marks)


def weeks(by_week: Mapping[str, Any]) -> Chart | None:
    """Agreement by week, 20 to 100 %."""
    found = {week: a["decided"] for week, a in by_week.items() if a["decided"]["num_units"]}
    found = dict(list(found.items())[-_MAX_WEEKS:])
    if not found:
        return None
    low, high = 0.2, 1.0
    step = (WIDTH - _LEFT - _RIGHT) / len(found)
    marks = [
        Mark(
            x=_round(_LEFT + step * (number + 0.5)),
            y=_y(share["value"], low, high),
            low=_y(share["low"], low, high),
            high=_y(share["high"], low, high),
            label=f"{week[8:]}.{week[5:7]}.",
            note=f"week of {week}: {_percent(share['value'])}, {_percent(share['low'])} to "
            f"{_percent(share['high'])}, {share['num_units']} sets",
        )
        for number, (week, share) in enumerate(found.items())
    ]
    ticks = [Tick(y=_y(v, low, high), label=_percent(v)) for v in (0.25, 0.5, 0.75, 1.0)]
    return Chart(ticks=ticks, marks=marks)


def positions(counts: Sequence[int]) -> Chart | None:
    """Where the best answer was shown, as shares of all; the dashed line is 1/K."""
    total = sum(counts)
    if not total:
        return None
    shares = [count / total for count in counts]
    top = min(1.0, max(*shares, 1 / len(counts)) * 1.25)
    step = (WIDTH - _LEFT - _RIGHT) / len(counts)
    bars = [
        Bar(
            x=_round(_LEFT + step * (number + 0.15)),
            y=_y(share, 0, top),
            width=_round(step * 0.7),
            height=_round(_y(0, 0, top) - _y(share, 0, top)),
            chance=_y(1 / len(counts), 0, top),
            label=f"{number + 1}.",
            note=f"place {number + 1}: {_percent(share)}, {counts[number]} sets",
        )
        for number, share in enumerate(shares)
    ]
    ticks = [Tick(y=_y(v, 0, top), label=_percent(v)) for v in (0.0, 1 / len(counts))]
    return Chart(ticks=ticks, bars=bars)


def reference(value: float) -> float:
    """y of a value on the chart of weeks."""
    return _y(value, 0.2, 1.0)


def _y(value: float, low: float, high: float) -> float:
    share = (min(max(value, low), high) - low) / (high - low)
    return _round(HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP))


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _round(value: float) -> float:
    return round(value, 1)
