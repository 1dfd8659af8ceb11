"""`hone prove …`: every command shows what it found and exits 1 when a mark fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import AsJson

app = typer.Typer(
    help="Prove that training is right, where the right answer is known.", no_args_is_help=True
)

_SEEDS = [0]

Seeds = Annotated[list[int], typer.Option("--seed", min=0, help="Several times for several runs.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Folder for pictures.")]


@app.command()
def exact(
    seed: Seeds = _SEEDS,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Also with planted bugs, which must fall short.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """PPO on a world small enough to enumerate, against the optimum that a formula gives."""
    from training.prove import exact, report

    report.conclude([exact.prove(seed=s, with_mutants=mutants) for s in seed], as_json=as_json)
