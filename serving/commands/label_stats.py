"""`hone label stats`: agreement, alpha, and what is known of each labeler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedback.errors import Unprocessable
from serving.commands.options import AsJson, DataDir, redis_of

if TYPE_CHECKING:
    from rich.table import Table

    from feedback.quality.agreement import Agreement
    from feedback.quality.intervals import Estimate
    from feedback.quality.report import Person, Report


def stats(
    data: DataDir = Path(".hone"),
    plots: Annotated[
        Path | None, typer.Option(help="Folder for pictures (PNG): agreement, trust, and more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How far labelers agree, how reliable each is, and what their judgements weigh in training."""
    report = _report(data)
    pictures = _draw(report, plots) if plots is not None else []
    if as_json:
        shown = {**report.as_json(), "plots": [str(path) for path in pictures]}
        typer.echo(json.dumps(shown))
        return
    _show(report)
    for path in pictures:
        typer.echo(path)


def _report(data: Path) -> Report:
    from feedback.history import History
    from feedback.quality.judged import Reader
    from feedback.quality.report import read_people, report

    with redis_of(data) as client:
        return report(Reader(History(client)).rows(), read_people(client))


def _draw(report: Report, folder: Path) -> list[Path]:
    from feedback.quality import plots

    try:
        return plots.write(report, folder)
    except ModuleNotFoundError as error:
        raise Unprocessable(f"pictures need {error.name}: install `hone-llm[demo]`") from None


def _show(report: Report) -> None:
    from rich.console import Console

    console = Console()
    console.print(
        f"{report.num_judgements} judgements on {report.num_sets} sets, "
        f"{report.num_shared} of them by two or more"
    )
    for name, found in (("labelers", report.training), ("held-out labelers", report.heldout)):
        if found.decided.num_units:
            console.print(f"{name}: {_line(found)}")
    for title, groups in (("task", report.by_task), ("week", report.by_week)):
        for name, found in groups.items():
            if found.decided.num_units:
                console.print(f"  {title} {name}: {_line(found)}")
    console.print(_table(report))
    for person in report.people:
        for finding in person.findings:
            if finding.is_raised:
                console.print(f"{person.name}: {finding.flag.replace('_', ' ')}, {finding.meaning}")


def _line(found: Agreement) -> str:
    alphas = [("pairs", found.winners_alpha), ("Likert", found.likert_alpha)]
    shown = [f"alpha of {name} {number(alpha)}" for name, alpha in alphas if alpha is not None]
    return ", ".join([f"agree on {percent(found.decided)}", *shown])


def _table(report: Report) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("labeler", "status", "sets", "s/set", "with others", "known answers", "accuracy",
                  "weight", "noted", box=box.SIMPLE_HEAD)  # fmt: skip
    for person in report.people:
        table.add_row(*_cells(person))
    return table


def _cells(person: Person) -> list[str]:
    found = person.trust
    status = "held out" if found.is_heldout else found.status or found.source
    return [
        person.name,
        status,
        str(found.num_judged),
        "" if person.median_s is None else f"{person.median_s:.0f}",
        percent(person.agreement),
        percent(person.known),
        percent(person.accuracy),
        f"{found.weight:.2f}",
        ", ".join(flag.replace("_", " ") for flag in found.flags),
    ]


def percent(estimate: Estimate | None) -> str:
    """A share with its interval; nothing for none."""
    if estimate is None:
        return ""
    return f"{estimate.value:.1%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def number(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
