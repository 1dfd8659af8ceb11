"""Judgements an hour as bars, with the target as a line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.console.words import moment

WIDTH, HEIGHT = 720, 130
_LEFT, _TOP, _BOTTOM = 34, 8, 26


@dataclass(frozen=True, kw_only=True)
class Hour:
    x: float
    y: float
    width: float
    height: float
    note: str
    label: str  # under the axis; empty for most
    is_now: bool


@dataclass(frozen=True, kw_only=True)
class Hours:
    bars: Sequence[Hour]
    target: float | None  # y
    top: int  # the figure at the upper end
    this_hour: int
    last_hour: int
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    bottom: int = HEIGHT - _BOTTOM


def drawn(backlog: Mapping[str, Any]) -> Hours:
    """The last 24 hours."""
    counts = [hour["judgements"] for hour in backlog["hours"]]
    target = backlog["target_per_hour"]
    top = max(*counts, target, 1)
    step = (WIDTH - _LEFT) / len(counts)
    room = HEIGHT - _BOTTOM - _TOP
    bars = [
        Hour(
            x=round(_LEFT + step * (number + 0.14), 1),
            y=round(HEIGHT - _BOTTOM - room * count / top, 1),
            width=round(step * 0.72, 1),
            height=round(room * count / top, 1),
            note=f"{moment(hour['began'])}: {count}",
            label=moment(hour["began"])[-5:] if number % 6 == 2 else "",
            is_now=number == len(counts) - 1,
        )
        for number, (hour, count) in enumerate(zip(backlog["hours"], counts, strict=True))
    ]
    return Hours(
        bars=bars,
        target=round(HEIGHT - _BOTTOM - room * target / top, 1) if target else None,
        top=top,
        this_hour=counts[-1],
        last_hour=counts[-2],
        summary=f"{sum(counts)} judgements in 24 hours, {counts[-2]} in the last full one, "
        f"{max(counts)} in the best; the target is {target}",
    )
