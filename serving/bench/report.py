"""Rounds in which every target gets the same load, medians over the rounds, and tables of them."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from serving.bench.load import Load, Sample, quantile

Row = dict[str, Any]
DIRECT = "direct"

_FIGURES: dict[str, Callable[[Sample], float]] = {
    "requests_per_s": lambda s: len(s.took_ms) / s.seconds,  # good answers only
    "tokens_per_s": lambda s: s.num_tokens / s.seconds,
    "p50_ms": lambda s: quantile(s.took_ms, 0.5),
    "p99_ms": lambda s: quantile(s.took_ms, 0.99),
    "first_p50_ms": lambda s: quantile(s.first_ms, 0.5),
    "first_p99_ms": lambda s: quantile(s.first_ms, 0.99),
    "cpu_ms_per_request": lambda s: s.cpu_s * 1e3 / s.num_requests,
    "cpu_us_per_chunk": lambda s: s.cpu_s * 1e6 / s.num_frames if s.num_frames else 0.0,
    "core_busy": lambda s: s.cpu_s / s.seconds,
    "rss_mb": lambda s: s.rss_bytes / 1e6,
    "logged_per_request": lambda s: s.num_logged / s.num_sent,
    "moderated_per_request": lambda s: s.num_moderated / s.num_sent,
}
_SHOWN = {
    "answers": (
        *("at_a_time", "requests_per_s", "tokens_per_s", "rate_to_direct", "p50_ms"),
        *("added_p50_ms", "added_p99_ms", "cpu_ms_per_request", "rss_mb"),
        *("litellm_rate_times", "litellm_cpu_times", "num_failed"),
    ),
    "feedback": (
        *("at_a_time", "per_s", "share_of_floor", "p50_ms", "p99_ms", "cpu_ms", "rss_mb"),
        *("num_missing", "num_failed"),
    ),
    "streams": (
        *("at_a_time", "tokens_per_s", "rate_to_direct", "first_p50_ms", "added_first_p50_ms"),
        *("added_first_p99_ms", "cpu_us_per_chunk", "core_busy", "rss_mb"),
        *("litellm_cpu_times", "num_lost", "num_failed"),
    ),
    "screens": ("first_ms", "p50_ms", "p95_ms", "max_ms", "page_kb"),
    "archive": (
        *("num_events", "events_per_s", "mb_per_s", "of_floor", "peak_mb", "at_start_mb"),
        *("redis_mb", "file_mb"),
    ),
    "snapshots": (
        *("events_per_s", "floor_events_per_s", "times_floor", "us_per_event", "seconds"),
        *("peak_mb", "floor_peak_mb", "judgements", "rankings", "prompts", "masked"),
    ),
}
_ADDED = ("p50_ms", "p99_ms", "first_p50_ms", "first_p99_ms")


async def compare(
    loads: Mapping[str, Load],
    *,
    rounds: int,
    send: Callable[[Load], Awaitable[Sample]],
    say: Callable[[str], None],
) -> list[Row]:
    """A row for every target, by its name. One of them is `DIRECT`."""
    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    for number in range(rounds):
        for name, load in loads.items():
            say(f"{load.concurrency} at a time, round {number + 1} of {rounds}: {name}")
            samples[name].append(await send(load))
    at_a_time = next(iter(loads.values())).concurrency
    return [
        {"target": name, "at_a_time": at_a_time, **row_of(taken, direct=samples[DIRECT])}
        for name, taken in samples.items()
    ]


def row_of(samples: Sequence[Sample], *, direct: Sequence[Sample]) -> Row:
    """Medians over rounds. What is added to going direct is taken within each round first."""
    row: Row = {name: median(map(figure, samples)) for name, figure in _FIGURES.items()}
    pairs = list(zip(samples, direct, strict=True))
    for name in _ADDED:
        row[f"added_{name}"] = median(_FIGURES[name](a) - _FIGURES[name](b) for a, b in pairs)
    per_s = _FIGURES["requests_per_s"]
    row["rate_to_direct"] = median(times(per_s(a), per_s(b)) for a, b in pairs)
    for name in ("num_requests", "num_failed", "num_lost"):
        row[name] = sum(getattr(sample, name) for sample in samples)
    row["errors"] = sorted({error for sample in samples for error in sample.errors})
    return row


def times(one: float, other: float) -> float:
    """How many times the other. 0 where there is nothing to compare with."""
    return one / other if other else 0.0


def machine() -> dict[str, Any]:
    """Where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    cores = sum(line.startswith("processor") for line in lines)
    return {"cpu": ", ".join(names), "cores": cores, "python": platform.python_version()}


def show(report: Mapping[str, Any], console: Console) -> None:
    """The rows as tables of their main columns (`--json` has all); everything else as a line."""
    for name, found in report.items():
        if isinstance(found, list) and name in _SHOWN:
            _show_rows(name, found, console)
        else:
            console.print(f"{name}: {_text(found)}", highlight=False)


def _show_rows(title: str, rows: Sequence[Row], console: Console) -> None:
    columns = [
        column
        for column in _SHOWN[title]
        if column.startswith("num_") or any(row.get(column) for row in rows)
    ]
    table = Table(title=f"\n{title}", title_justify="left", box=None, header_style="dim")
    table.add_column("target", no_wrap=True)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(row["target"], *(_text(row.get(column, "")) for column in columns))
    console.print(table)
    for error in sorted({error for row in rows for error in row.get("errors", ())}):
        console.print(f"failed: {error}", highlight=False, markup=False)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
