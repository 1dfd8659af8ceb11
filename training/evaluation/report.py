"""What came of an evaluation: a table of measures by policies, as JSON and as Markdown. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from feedback.quality.intervals import Estimate
from training.evaluation.measures import (
    MEASURES,
    PEOPLE_WIN_RATE,
    WIN_RATE,
    Values,
    Verdict,
    difference,
    estimate,
    verdict,
    won,
)
from training.evaluation.policies import Policy

MARKS: dict[Verdict, str] = {"better": "▲", "worse": "▼", "same": ""}
_DIGITS = {"share": 3, "bits": 3, "nats/token": 3, "score": 3, "Likert": 2}
NUM_SAMPLES = 8  # of each part, that the page shows


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measure of one policy."""

    value: Estimate
    difference: Estimate | None  # from the baseline, unit by unit; None: it is the baseline itself
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    measure: str
    title: str
    unit: str
    better: str
    cells: Mapping[str, Cell]  # by label; one that was not measured is absent


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences from one policy, unit by unit: PPO-ptx against PPO is the alignment tax."""

    baseline: str
    rows: Sequence[Row]  # those that are compared unit by unit


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is written."""

    made: str  # when, ISO 8601
    command: str
    baseline: str
    seed: int
    count: int
    policies: Sequence[Mapping[str, Any]]
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]  # the baseline's first
    data: Mapping[str, str]  # file -> SHA-256
    judge: Mapping[str, Any] | None
    notes: Sequence[str]


def rows(values: Mapping[str, Values], *, baseline: str) -> list[Row]:
    """In the order of MEASURES; only what was measured of somebody."""
    found = []
    for measure in MEASURES.values():
        cells = {
            label: _cell(measure.name, label, values, baseline=baseline)
            for label in values
            if values[label].get(measure.name)
        }
        if cells:
            about = {"title": measure.title, "unit": measure.unit, "better": measure.better}
            found.append(Row(measure=measure.name, cells=cells, **about))
    return found


def compare(values: Mapping[str, Values], *, baseline: str) -> Comparison:
    """Every other policy with this one."""
    found = [
        row
        for row in rows(values, baseline=baseline)
        if any(cell.difference is not None for cell in row.cells.values())
    ]
    return Comparison(baseline=baseline, rows=found)


def policy_row(policy: Policy) -> dict[str, Any]:
    """What a reader needs to know which weights these were."""
    return {
        "label": policy.label,
        "version": policy.version,
        "kind": policy.kind,
        "digest": policy.digest,
        "base_model": policy.base_model.name,
        "is_prompted": policy.is_prompted,
    }


def as_json(report: Report) -> dict[str, Any]:
    return asdict(report)


def as_markdown(report: Report) -> str:
    """The table, what was measured on, and how to measure it again."""
    lines = [
        "# Evaluation",
        "",
        f"95 % intervals. ▲ better and ▼ worse than {report.baseline}: the interval of the difference, "
        "unit by unit, leaves out 0 (a win rate's leaves out a half). "
        f"At most {report.count} units a suite, seed {report.seed}.",
        "",
        *table(report),
        "",
        *[line for found in report.comparisons for line in comparison_table(report, found)],
        *[f"- {note}" for note in report.notes],
        "",
        "| policy | version | kind | digest |",
        "|---|---|---|---|",
        *[
            f"| {p['label']} | {p['version']} | {p['kind']} over {p['base_model']} | `{p['digest'][:12]}` |"
            for p in report.policies
        ],
        "",
        "| data | SHA-256 |",
        "|---|---|",
        *[f"| {name} | `{digest[:12]}` |" for name, digest in report.data.items()],
        "",
        f"{report.made}: `{report.command}`",
        "",
    ]
    return "\n".join(lines)


def table(report: Report) -> list[str]:
    """A row per measure, a column per policy."""
    labels = [str(policy["label"]) for policy in report.policies]
    return [
        "| | " + " | ".join(labels) + " |",
        "|---|" + "---|" * len(labels),
        *[
            f"| {row.title}, {row.unit} ({row.better} is better; n = {_num_units(row)}) | "
            + " | ".join(cell_text(row, label) for label in labels)
            + " |"
            for row in report.rows
        ],
    ]


def comparison_table(report: Report, found: Comparison) -> list[str]:
    """A row per measure, a column per other policy."""
    labels = [str(p["label"]) for p in report.policies if p["label"] != found.baseline]
    return [
        f"Differences from {found.baseline}, unit by unit:",
        "",
        "| | " + " | ".join(labels) + " |",
        "|---|" + "---|" * len(labels),
        *[
            f"| {row.title}, {row.unit} | "
            + " | ".join(marked_difference(row, label) for label in labels)
            + " |"
            for row in found.rows
        ],
        "",
    ]


def marked_difference(row: Row, label: str) -> str:
    text = difference_text(row, label)
    return f"{text} {MARKS[row.cells[label].verdict]}".strip() if text else "–"


def cell_text(row: Row, label: str) -> str:
    """The value, its interval, and a mark where it differs from the baseline."""
    cell = row.cells.get(label)
    if cell is None:
        return "–"
    digits = _DIGITS[row.unit]
    found = cell.value
    interval = f"[{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found.value:.{digits}f} {interval} {MARKS[cell.verdict]}".strip()


def difference_text(row: Row, label: str) -> str:
    """How far from the baseline, in words for a tooltip."""
    found = row.cells[label].difference if label in row.cells else None
    if found is None:
        return ""
    digits = _DIGITS[row.unit]
    return f"{found.value:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _cell(name: str, label: str, values: Mapping[str, Values], *, baseline: str) -> Cell:
    mine = values[label][name]
    found = estimate(name, mine)
    if name in (WIN_RATE, PEOPLE_WIN_RATE):
        return Cell(value=found, difference=None, verdict=won(found))
    theirs = values.get(baseline, {}).get(name)
    if label == baseline or theirs is None or not MEASURES[name].is_paired:
        return Cell(value=found, difference=None, verdict="same")
    apart = difference(mine, theirs)
    return Cell(value=found, difference=apart, verdict=verdict(name, apart))


def _num_units(row: Row) -> str:
    numbers = sorted({cell.value.num_units for cell in row.cells.values()})
    return "–".join(dict.fromkeys(str(number) for number in (numbers[0], numbers[-1])))


def is_finite(found: Estimate) -> bool:
    return all(map(math.isfinite, (found.value, found.low, found.high)))
