"""The report as pictures, PNG. Needs matplotlib (the extra `demo`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from feedback.quality.agreement import Agreement
from feedback.quality.report import Person, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER = 0.726  # agreement of InstructGPT's training labelers
_BLUE, _GREY, _ORANGE = "#1f5f8b", "#8a857d", "#c8641b"
_MAX_PEOPLE = 40  # bars that can be told apart
_MAX_WEEKS = 12


def write(report: Report, folder: Path) -> list[Path]:
    """One file a picture; returns those there was something to draw for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in _PICTURES.items():
        path = folder / f"{name}.png"
        if _save(path, report, draw):
            drawn.append(path)
    return drawn


def _save(path: Path, report: Report, draw: Callable[[Axes, Report], bool]) -> bool:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.2), dpi=130, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    is_drawn = draw(axes, report)
    if is_drawn:
        figure.savefig(path)
    pyplot.close(figure)
    return is_drawn


def _agreement(axes: Axes, report: Report) -> bool:
    found = {week: a for week, a in report.by_week.items() if a.decided.num_units}
    found = dict(list(found.items())[-_MAX_WEEKS:])
    if not found:
        return False
    places = range(len(found))
    _line(axes, PAPER, "the paper's\nlabelers", style="--")
    _line(axes, 0.5, "chance", style="-")
    _with_bars(axes, places, list(found.values()))
    names = [f"{week[5:]}\n{a.decided.num_units} sets" for week, a in found.items()]
    axes.set_xticks(places, names, fontsize=8 if len(found) < 9 else 6)
    axes.set_xlim(-0.9, len(found) - 0.5)
    axes.set_ylim(0.2, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("Pairs decided alike, by week (95 % interval)", loc="left")
    return True


def _line(axes: Axes, value: float, text: str, *, style: str) -> None:
    axes.axhline(value, color=_GREY, linestyle=style, linewidth=1, zorder=0)
    axes.annotate(text, (1.01, value), xycoords=("axes fraction", "data"), va="center",
                  color=_GREY, fontsize=8)  # fmt: skip


def _with_bars(axes: Axes, places: Sequence[int], found: Sequence[Agreement]) -> None:
    values = [a.decided.value for a in found]
    below = [a.decided.value - a.decided.low for a in found]
    above = [a.decided.high - a.decided.value for a in found]
    axes.errorbar(places, values, yerr=[below, above], color=_BLUE, marker="o", capsize=3, lw=1.5)


def _trust(axes: Axes, report: Report) -> bool:
    people = report.people[:_MAX_PEOPLE][::-1]
    if not people:
        return False
    places = range(len(people))
    axes.barh(places, [p.trust.weight for p in people], color=[_colour(p) for p in people])
    axes.set_yticks(places, [p.name for p in people], fontsize=8 if len(people) < 25 else 6)
    for place, person in enumerate(people):
        note = " · ".join([f"{person.trust.weight:.2f}", *_notes(person)])
        axes.annotate(note, (person.trust.weight, place), xytext=(4, 0), va="center",
                      textcoords="offset points", fontsize=7, color=_GREY)  # fmt: skip
    axes.set_xlim(0, 1.35)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    left = len(report.people) - len(people)
    rest = f" (the {len(people)} least trusted; {left} more)" if left else ""
    axes.set_title(f"What a labeler's word weighs in training{rest}", loc="left")
    return True


def _colour(person: Person) -> str:
    return _ORANGE if person.trust.flags else _BLUE


def _notes(person: Person) -> list[str]:
    status = person.trust.status
    shown = [status] if status not in ("", "active") else []
    return shown + [flag.replace("_", " ") for flag in person.trust.flags]


def _positions(axes: Axes, report: Report) -> bool:
    if not report.positions:
        return False
    width = 0.8 / len(report.positions)
    for number, (k, counts) in enumerate(report.positions.items()):
        total = sum(counts)
        shares = [count / total for count in counts]
        errors = [1.96 * math.sqrt(s * (1 - s) / total) for s in shares]
        left = -0.4 + width * (number + 0.5)
        places = [place + left for place in range(k)]
        axes.bar(places, shares, width * 0.9, yerr=errors, capsize=2, color=_shade(number),
                 label=f"{k} answers, {total} sets")  # fmt: skip
        axes.hlines([1 / k] * k, [p - width / 2 for p in places], [p + width / 2 for p in places],
                    colors="black", linestyles="--", linewidth=1)  # fmt: skip
    axes.set_xticks(range(max(report.positions)), _ordinals(max(report.positions)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Where the best answer was shown (dashed: without bias)", loc="left")
    return True


def _shade(number: int) -> str:
    return (_BLUE, _ORANGE, _GREY, "#6a9f58", "#7d5ba6", "#b0a02c", "#4aa3a2", "#a04a6a")[
        number % 8
    ]


def _ordinals(count: int) -> list[str]:
    return ["1st", "2nd", "3rd", *(f"{number}th" for number in range(4, count + 1))][:count]


def _durations(axes: Axes, report: Report) -> bool:
    people = [p for p in report.people if p.median_s][:_MAX_PEOPLE]
    people = sorted(people, key=lambda p: p.median_s or 0.0)
    if not people:
        return False
    places = range(len(people))
    fast = {p.name for p in people if "too_fast" in p.trust.flags}
    colours = [_ORANGE if p.name in fast else _BLUE for p in people]
    axes.barh(places, [p.median_s or 0.0 for p in people], color=colours)
    axes.set_yticks(places, [p.name for p in people], fontsize=8 if len(people) < 25 else 6)
    axes.set_xlabel("seconds, median")
    axes.set_title("Time for one set (orange: faster than anybody reads)", loc="left")
    return True


_PICTURES: dict[str, Callable[[Axes, Report], bool]] = {
    "agreement": _agreement,
    "trust": _trust,
    "positions": _positions,
    "durations": _durations,
}
