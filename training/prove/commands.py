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
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """PPO on a world small enough to enumerate, against the optimum that a formula gives."""
    from training.prove import plotting, report

    plotting.check_folder(plot)
    from training.prove import exact

    report.conclude(
        [exact.prove(seed=s, with_mutants=mutants, plot=plot) for s in seed], as_json=as_json
    )


@app.command()
def labelers(seed: Seeds = _SEEDS, plot: Plot = None, as_json: AsJson = False) -> None:
    """Labelers whose opinions are known: reward model, PPO, overoptimisation, the gate, biased groups."""
    from training.prove import plotting, report

    plotting.check_folder(plot)
    from training.prove import labelers

    report.conclude([labelers.prove(seed=s, plot=plot) for s in seed], as_json=as_json)


@app.command()
def tax(seed: Seeds = _SEEDS, plot: Plot = None, as_json: AsJson = False) -> None:
    """What PPO forgets of its pretraining, and whether ptx (gamma) or a stronger KL (beta) repairs it."""
    from training.prove import plotting, report

    plotting.check_folder(plot)
    from training.prove import tax

    report.conclude([tax.prove(seed=s, plot=plot) for s in seed], as_json=as_json)


@app.command()
def canary(
    seed: Seeds = _SEEDS,
    runs: Annotated[
        int,
        typer.Option(min=8, help="Canaries where nothing differs; a quarter where something does."),
    ] = 2000,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """The canary's sequential test on simulated people: false alarms and power, looked at all the time."""
    from training.prove import plotting, report

    plotting.check_folder(plot)
    from training.prove import canary

    report.conclude([canary.prove(seed=s, num_runs=runs, plot=plot) for s in seed], as_json=as_json)


@app.command()
def model(
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, labelers and sampling.")] = 0,
    sets: Annotated[int, typer.Option(min=16, help="Candidate sets that the labelers rank.")] = 480,
    heldout: Annotated[int, typer.Option(min=8, help="Prompts kept apart, to measure on.")] = 96,
    data: Annotated[
        Path | None, typer.Option(help="Folder of a stack that runs. Default: one is started.")
    ] = None,
    as_json: AsJson = False,
    plot: Plot = None,
) -> None:
    """D: the real model through real vLLM, the whole way; a quarter of an hour on two cores."""
    from rich.console import Console

    from training.prove import model, plotting
    from training.prove.report import conclude

    plotting.check_folder(plot)
    wish = model.Wish(data_dir=data, num_sets=sets, num_heldout=heldout, seed=seed, out=plot)
    proof, frontier = model.prove(wish, console=Console(stderr=True))
    if plot is not None:
        plotting.save(plot / "model.png", lambda axes: model.draw(frontier, axes))
    conclude([proof], as_json=as_json)


@app.command()
def public(
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, people and sampling.")] = 0,
    sets: Annotated[
        int,
        typer.Option(
            min=16, max=480, help="Candidate sets of a round; a third more of the poisoned one."
        ),
    ] = 480,
    as_json: AsJson = False,
) -> None:
    """E: three rounds on the real model: rolled back by people, refused by the gate, promoted by people."""
    from training.prove import public, report

    proof = public.prove(num_sets=sets, seed=seed, tell=lambda line: typer.echo(line, err=True))
    report.conclude([proof], as_json=as_json)
