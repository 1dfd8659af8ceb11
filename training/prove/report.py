"""What a proof found: its figures, and the marks they must meet."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]  # a line of a table: a setting and what came of it


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A figure and its limit. A figure that could not be measured (NaN) fails."""

    name: str
    value: float
    limit: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One experiment with one seed."""

    experiment: str
    seed: int
    figures: dict[str, Any]  # numbers; a list of rows becomes a table
    marks: Sequence[Mark]

    @property
    def passed(self) -> bool:
        return all(mark.passed for mark in self.marks)


def at_least(name: str, value: float, limit: float) -> Mark:
    return Mark(name=name, value=value, limit=limit, passed=value >= limit)


def at_most(name: str, value: float, limit: float) -> Mark:
    return Mark(name=name, value=value, limit=limit, passed=value <= limit)


def below(name: str, value: float, limit: float) -> Mark:
    return Mark(name=name, value=value, limit=limit, passed=value < limit)


def conclude(proofs: Sequence[Proof], *, as_json: bool) -> None:
    """Show the proofs; exit 1 when a mark of any failed."""
    if as_json:
        typer.echo(json.dumps([{"passed": p.passed, **dataclasses.asdict(p)} for p in proofs]))
    else:
        _show(proofs)
    if not all(proof.passed for proof in proofs):
        raise typer.Exit(1)


def _show(proofs: Sequence[Proof]) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for proof in proofs:
        console.print(f"\n{proof.experiment}, seed {proof.seed}", style="bold")
        for name, value in proof.figures.items():
            if isinstance(value, list):
                _show_table(name, value, console)
            else:
                console.print(f"{name}: {_text(value)}")
        _show_table("marks", [_row(mark) for mark in proof.marks], console)


def _row(mark: Mark) -> Row:
    verdict = "ok" if mark.passed else "FAILED"
    return {"mark": mark.name, "value": mark.value, "limit": mark.limit, "": verdict}


def _show_table(title: str, rows: Sequence[Row], console: Console) -> None:
    from rich.table import Table

    table = Table(title=f"\n{title}", title_justify="left", box=None, header_style="dim")
    for name, value in rows[0].items():
        table.add_column(
            name.replace("_", " "), justify="left" if isinstance(value, str) else "right"
        )
    for row in rows:
        table.add_row(*map(_text, row.values()))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
