"""A measure's values and intervals as places on a drawing, for inline SVG. Pure; units are the drawing's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.measures import PEOPLE_WIN_RATE, WIN_RATE
from training.evaluation.report import Row, cell_text, difference_text, is_finite

WIDTH = 520
LEFT, RIGHT = 130, 20  # left: the policies' names
_LINE, _TOP, _BOTTOM = 26, 8, 30
_NUM_TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A policy's value with its interval, on a line of its own."""

    x: float
    y: float
    low: float  # x of the interval's ends
    high: float
    label: str
    verdict: str
    note: str  # the figures in words


@dataclass(frozen=True, kw_only=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    marks: Sequence[Mark]
    ticks: Sequence[Tick]
    reference: float | None  # x of the baseline's value; of a win rate, of a half
    height: float
    bottom: float
    width: float = WIDTH
    left: float = LEFT
    right: float = WIDTH - RIGHT


def of_row(row: Row, *, labels: Sequence[str], baseline: str) -> Chart | None:
    """A line for each policy that was measured; None where nothing can be drawn."""
    shown = [label for label in labels if label in row.cells and is_finite(row.cells[label].value)]
    if not shown:
        return None
    reference = _reference(row, baseline)
    known = [] if reference is None else [reference]
    found = [row.cells[label].value for label in shown]
    low, high = _range([each.low for each in found] + known, [each.high for each in found] + known)

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    marks = [
        Mark(
            x=x(row.cells[label].value.value),
            y=_TOP + _LINE * (number + 0.5),
            low=x(row.cells[label].value.low),
            high=x(row.cells[label].value.high),
            label=label,
            verdict=row.cells[label].verdict,
            note=_note(row, label, baseline=baseline),
        )
        for number, label in enumerate(shown)
    ]
    bottom = _TOP + _LINE * len(shown)
    steps = [low + (high - low) * step / _NUM_TICKS for step in range(_NUM_TICKS + 1)]
    return Chart(
        marks=marks,
        ticks=[Tick(x=x(value), label=f"{value:.2f}") for value in steps],
        reference=None if reference is None else x(reference),
        height=bottom + _BOTTOM,
        bottom=bottom,
    )


def _reference(row: Row, baseline: str) -> float | None:
    if row.measure in (WIN_RATE, PEOPLE_WIN_RATE):
        return 0.5
    cell = row.cells.get(baseline)
    return cell.value.value if cell is not None and is_finite(cell.value) else None


def _range(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """With some room on both sides; never empty."""
    low, high = min(lows), max(highs)
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room


def _note(row: Row, label: str, *, baseline: str) -> str:
    apart = difference_text(row, label)
    more = f"; from {baseline}: {apart}" if apart else ""
    return f"{label}: {cell_text(row, label)}{more}"
