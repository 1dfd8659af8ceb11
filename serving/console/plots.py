"""Curves and intervals as places on a drawing, for inline SVG, each with what it says in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.console.frames import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Dot,
    Frame,
    Line,
    Points,
    Tick,
)
from serving.console.words import figure

_ROWS_SHOWN = 12  # of the table that says the same


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Everything a template needs; y grows downwards."""

    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    path: str = ""  # SVG's `points`
    dots: Sequence[Dot] = ()
    references: Sequence[Line] = ()
    summary: str  # for who does not see it
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    x_name: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value with its interval, at a place across."""

    x: float
    value: float
    low: float
    high: float
    label: str
    is_odd: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An interval on a strip from `low` to `high` of the figures, in per cent of its width."""

    start: float
    end: float
    at: float
    limit: float | None


def curve(name: str, points: Points, *, x_name: str = "iteration") -> Plot | None:
    """A metric over iterations."""
    found = _finite(points)
    if not found:
        return None
    xs, ys = [x for x, _ in found], [y for _, y in found]
    frame = Frame(xs, ys)
    least, most = min(found, key=_second), max(found, key=_second)
    summary = (
        f"{name}: {figure(ys[0])} at {x_name} {figure(xs[0])}, {figure(ys[-1])} at {figure(xs[-1])}; "
        f"least {figure(least[1])} at {figure(least[0])}, most {figure(most[1])} at {figure(most[0])}"
    )
    return Plot(
        x_ticks=frame.x_ticks,
        y_ticks=frame.y_ticks,
        path=frame.path(found),
        dots=[frame.dot(*found[-1], note=summary)],
        summary=summary,
        head=(x_name, name),
        rows=_said(found),
        x_name=x_name,
    )


def against(points: Points, *, x_name: str, y_name: str) -> Plot | None:
    """One metric against another, in the order of time: where the line goes back, it went back."""
    found = _finite(points)
    if not found:
        return None
    frame = Frame([x for x, _ in found], [y for _, y in found])
    (x0, y0), (x1, y1) = found[0], found[-1]
    summary = (
        f"{y_name} against {x_name}: from {figure(y0)} at {figure(x0)} to {figure(y1)} at {figure(x1)}, "
        f"{len(found)} points"
    )
    dots = [frame.dot(x, y, note=f"{x_name} {figure(x)}: {y_name} {figure(y)}") for x, y in found]
    return Plot(
        x_ticks=frame.x_ticks,
        y_ticks=frame.y_ticks,
        path=frame.path(found),
        dots=dots if len(dots) <= 80 else [dots[0], dots[-1]],
        summary=summary,
        head=(x_name, y_name),
        rows=_said(found),
        x_name=x_name,
    )


def measured(
    marks: Sequence[Measured],
    *,
    name: str,
    x_name: str,
    reference: float | None = None,
    reference_name: str = "",
) -> Plot | None:
    """Values with intervals, side by side: the newest twelve months of rounds, say."""
    marks = [mark for mark in marks if math.isfinite(mark.value)]
    if not marks:
        return None
    ys = [y for mark in marks for y in (mark.low, mark.high)]
    frame = Frame(
        [mark.x for mark in marks], [*ys, *([] if reference is None else [reference])], pad=0.5
    )
    notes = [
        f"{mark.label}: {figure(mark.value)}, {figure(mark.low)} to {figure(mark.high)}"
        for mark in marks
    ]
    dots = [
        frame.dot(mark.x, mark.value, low=mark.low, high=mark.high, note=note, is_odd=mark.is_odd)
        for mark, note in zip(marks, notes, strict=True)
    ]
    every = max(1, math.ceil(len(marks) / 8))
    labels = [Tick(at=frame.x(mark.x), label=mark.label) for mark in marks[::every]]
    lines = [] if reference is None else [frame.level(reference, label=reference_name)]
    return Plot(
        x_ticks=labels,
        y_ticks=frame.y_ticks,
        path=frame.path([(mark.x, mark.value) for mark in marks]),
        dots=dots,
        references=lines,
        summary=f"{name}. {'; '.join(notes)}",
        head=(x_name, name, "95 % interval"),
        rows=[
            (mark.label, figure(mark.value), f"{figure(mark.low)} to {figure(mark.high)}")
            for mark in marks
        ],
        x_name=x_name,
    )


def diagonal(
    points: Points, *, sizes: Sequence[int], x_name: str, y_name: str, low: float
) -> Plot | None:
    """Said against true, from `low` to 1: on the diagonal both are the same. `sizes`: comparisons of each."""
    found = _finite(points)
    if not found:
        return None
    least = min(low, *(y for _, y in found))
    frame = Frame([low, 1.0], [math.floor(10 * least) / 10, 1.0])
    said = [(figure(x), figure(y), f"{size:,}") for (x, y), size in zip(found, sizes, strict=True)]
    notes = [f"{x_name} {x}: {y_name} {y}, {size} comparisons" for x, y, size in said]
    return Plot(
        x_ticks=frame.x_ticks,
        y_ticks=frame.y_ticks,
        path=frame.path(found),
        dots=[frame.dot(x, y, note=note) for (x, y), note in zip(found, notes, strict=True)],
        references=[frame.line(low, low, 1.0, 1.0)],
        summary="; ".join(notes),
        head=(x_name, y_name, "comparisons"),
        rows=said,
        x_name=x_name,
    )


def judged_twice(marks: Sequence[Measured], *, x_name: str, y_name: str) -> Plot | None:
    """Shares measured in two ways, `x` by the first: on the diagonal both say the same."""
    marks = [mark for mark in marks if math.isfinite(mark.x) and math.isfinite(mark.value)]
    if not marks:
        return None
    frame = Frame([0.0, 1.0], [0.0, 1.0])
    notes = [
        f"{mark.label}: {x_name} {figure(mark.x)}, {y_name} {figure(mark.value)}, "
        f"{figure(mark.low)} to {figure(mark.high)}"
        for mark in marks
    ]
    return Plot(
        x_ticks=frame.x_ticks,
        y_ticks=frame.y_ticks,
        dots=[
            frame.dot(m.x, m.value, low=m.low, high=m.high, note=note, is_odd=m.is_odd)
            for m, note in zip(marks, notes, strict=True)
        ],
        references=[frame.line(0.0, 0.0, 1.0, 1.0)],
        summary="; ".join(notes),
        head=("version", x_name, y_name, "95 % interval"),
        rows=[
            (m.label, figure(m.x), figure(m.value), f"{figure(m.low)} to {figure(m.high)}")
            for m in marks
        ],
        x_name=x_name,
    )


def bar(
    value: float, *, low: float, high: float, limit: float | None, ends: tuple[float, float]
) -> Bar | None:
    """An interval between the ends of a strip; what lies beyond them is at the end."""
    if not all(map(math.isfinite, (value, low, high))) or ends[1] <= ends[0]:
        return None

    def place(x: float) -> float:
        return round(100 * min(max((x - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0), 2)

    start, end = place(low), place(high)
    return Bar(
        start=start,
        end=max(end, start + 0.8),
        at=place(value),
        limit=None if limit is None else place(limit),
    )


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _said(points: Points) -> list[tuple[str, str]]:
    """A few of them, evenly, with the last."""
    step = max(1, math.ceil(len(points) / _ROWS_SHOWN))
    chosen = list(points[::step])
    if chosen[-1] != points[-1]:
        chosen.append(points[-1])
    return [(figure(x), figure(y)) for x, y in chosen]


def _second(point: tuple[float, float]) -> float:
    return point[1]
