"""Where figures lie on a drawing: ticks, points, lines. Pure; y grows downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.console.words import figure

WIDTH, HEIGHT = 400, 214
LEFT, RIGHT, TOP, BOTTOM = 54, 16, 12, 44
_TICKS = 4

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point with its interval; `low` and `high` are y of its ends."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str
    is_odd: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""


class Frame:
    """From figures to places."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, pad: float = 0.0) -> None:
        levels = _ticks(min(ys), max(ys))
        self._low, self._high = min(levels[0], min(ys)), max(levels[-1], max(ys))
        self._start, self._end = min(xs) - pad, max(xs) + pad
        if self._end == self._start:
            self._start, self._end = self._start - 0.5, self._end + 0.5
        across = [x for x in _ticks(min(xs), max(xs)) if self._start <= x <= self._end]
        self.x_ticks = [Tick(at=self.x(x), label=figure(x)) for x in across]
        self.y_ticks = [Tick(at=self.y(y), label=figure(y)) for y in levels]

    def x(self, value: float) -> float:
        share = (value - self._start) / (self._end - self._start)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)

    def dot(
        self,
        x: float,
        y: float,
        *,
        note: str,
        low: float | None = None,
        high: float | None = None,
        is_odd: bool = False,
    ) -> Dot:
        return Dot(
            x=self.x(x),
            y=self.y(y),
            low=None if low is None else self.y(low),
            high=None if high is None else self.y(high),
            note=note,
            is_odd=is_odd,
        )

    def line(self, x1: float, y1: float, x2: float, y2: float) -> Line:
        return Line(x1=self.x(x1), y1=self.y(y1), x2=self.x(x2), y2=self.y(y2))

    def level(self, value: float, *, label: str) -> Line:
        y = self.y(value)
        return Line(x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, label=label)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from just below to just above."""
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-12):
        step = abs(high) / 2 or 0.5
        return [high - step, high, high + step]
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]
