"""`hone bench reward|ppo|rollouts`, added to serving's benches by `training.cli`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from feedback.errors import Unprocessable
from serving.bench.commands import Rounds, Tokens
from serving.commands.options import AsJson, DataDir

_HERE = Path(".hone")
_KS = [4, 9]
_RECIPE = "cpu-demo"


def reward(
    k: Annotated[list[int], typer.Option("--k", min=2, help="Answers; several times.")] = _KS,
    rankings: Annotated[int, typer.Option(min=8, help="Of each size; four are one step.")] = 16,
    model: Annotated[
        str | None, typer.Option(help="A model's folder or name. Default: SmolLM2-135M.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one per core.")] = 0,
    seed: Annotated[int, typer.Option(help="Of tokens and weights.")] = 0,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """The K-wise reward model beside TRL's: pairs/s and memory, at equal losses."""
    from training.bench.learning import Task
    from training.bench.reward import run
    from training.config import load_recipe

    recipe = load_recipe(_RECIPE)
    assert recipe.model.weights == "adapter"
    folder = _folder(model, data)
    task = Task(
        is_peer=False,
        layers=None,
        folder=folder,
        recipe=_RECIPE,
        k=k[0],
        num_rankings=rankings,
        rankings_per_step=4,
        prompt_tokens=64,
        answer_tokens=40,
        vocabulary=10_000,
        threads=threads,
        seed=seed,
    )
    num_layers = json.loads((Path(folder) / "config.json").read_text())["num_hidden_layers"]
    layers = [recipe.model.num_adapted_layers, num_layers, None]
    _show(run(task, ks=k, layers=layers, say=_say), as_json=as_json)


def ppo(
    recipe: Annotated[str, typer.Option(help="A recipe's name or .toml file.")] = "cpu-demo",
    model: Annotated[
        str | None, typer.Option(help="A model's folder or name. Default: SmolLM2-135M.")
    ] = None,
    random_model: Annotated[
        str | None, typer.Option(help="Random weights in a shape instead: 135m, 0.5b, 1.5b.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="0: one per core.")] = 0,
    iterations: Annotated[int, typer.Option(min=1, help="After one to warm up.")] = 3,
    prompt_tokens: Annotated[int, typer.Option(min=2, help="Mean of the prompts.")] = 48,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also four plain models, padded, float32.")
    ] = False,
    growth: Annotated[
        bool, typer.Option("--growth", help="Instead: time over K, prompt, answer and batch.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Folder for growth.png.")] = None,
    seed: Annotated[int, typer.Option(help="Of tokens and weights.")] = 0,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """A PPO iteration by phase, rollouts given: seconds, memory, share of the floor."""
    from training.bench import growth as growth_
    from training.bench.iteration import Task
    from training.bench.ppo import run
    from training.config import load_recipe

    if plot is not None and not growth:
        raise Unprocessable("--plot draws --growth: add it")
    growth_.check_folder(plot)
    settings = load_recipe(recipe)
    if settings.model.weights != "adapter":
        raise Unprocessable(f"recipe {recipe!r} trains full weights; this bench knows adapters")
    answer_tokens = settings.ppo.response_tokens
    task = Task(
        is_baseline=False,
        recipe=recipe,
        folder=None if random_model else _folder(model, data),
        random_model=_known(random_model),
        device=device,
        threads=threads,
        iterations=iterations,
        prompt_tokens=(max(1, prompt_tokens // 2), prompt_tokens * 3 // 2),
        answer_tokens=(max(1, answer_tokens // 2), answer_tokens),
        seed=seed,
    )
    if growth:
        _show(growth_.run(task, plot=plot, say=_say), as_json=as_json)
    else:
        _show(run(task, with_baseline=baseline, say=_say), as_json=as_json)


def rollouts(
    model: Annotated[
        str | None, typer.Option(help="A model's folder or name. Default: SmolLM2-135M.")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Prompts, one answer each.")] = 64,
    tokens: Tokens = 64,
    rounds: Rounds = 5,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Tokens/s of rollouts through an engine's HTTP, beside `LLM.generate` of vLLM alone."""
    from training.bench.rollouts import Size, run, show

    report = run(
        Path(_folder(model, data)),
        size=Size(num_requests=requests, num_tokens=tokens, rounds=rounds),
        data_dir=data,
        say=_say,
    )
    show(report, as_json=as_json)


def _folder(model: str | None, data: Path) -> str:
    from serving.stack.model import prepare

    return str(prepare(model, data_dir=data, progress=lambda step, steps, what: _say(what)))


def _known(random_model: str | None) -> str | None:
    if random_model is not None:
        from training.bench import shapes

        shapes.check(random_model)
    return random_model


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    from rich.console import Console

    _show_figures(report, Console(width=None if sys.stdout.isatty() else 140, highlight=False))


def _show_figures(figures: Mapping[str, Any], console: Any, *, under: str = "") -> None:
    for name, value in figures.items():
        if isinstance(value, list):
            _show_rows(f"{under}{name}", value, console)
        elif isinstance(value, dict) and any(isinstance(inner, list) for inner in value.values()):
            _show_figures(value, console, under=f"{under}{name}: ")
        else:
            console.print(f"{under}{name}: {_text(value)}")


def _show_rows(title: str, rows: Sequence[Mapping[str, Any]], console: Any) -> None:
    from rich.table import Table

    table = Table(title=f"\n{title}", title_justify="left", box=None, header_style="dim")
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right"
        )
    for row in rows:
        table.add_row(*(_text(row.get(name, "")) for name in rows[0]))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
