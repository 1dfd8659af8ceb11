"""`hone train sft|rm|ppo`: the trainer by itself, without the serving stack."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.options import AsJson

if TYPE_CHECKING:
    from training.config import Recipe
    from training.standalone import Show, Wish

app = typer.Typer(
    help="Train on a dataset on disk: imitation, reward model, PPO-ptx. The same command again goes on.",
    no_args_is_help=True,
)

Data = Annotated[
    Path,
    typer.Option(
        help="A snapshot; or .jsonl, .json, .parquet, a folder of them, or of save_to_disk: "
        "TRL's formats, HH-RLHF, rankings."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(help="A model's folder, or its name on the hub. Default: SmolLM2-135M."),
]
RecipeName = Annotated[str, typer.Option("--recipe", help="A recipe's name or .toml file.")]
Out = Annotated[Path, typer.Option(help="Folder of the result, its checkpoints and curves.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the order of the data and of fresh weights.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad records out. Without it they are refused.")
]
Engine = Annotated[
    list[str] | None,
    typer.Option(
        help="URL of an engine that runs on this model; may be repeated. Its token is in "
        "HONE_SERVING_ENGINE_TOKEN. Default: one is started."
    ),
]


@app.command()
def sft(
    data: Data,
    out: Out,
    model: Model = None,
    recipe: RecipeName = "default",
    ppo_init: Annotated[
        bool, typer.Option("--ppo-init", help="PPO's initial policy, not the baseline.")
    ] = False,
    reward: Annotated[
        Path | None,
        typer.Option(help="--out of a `train rm`: chooses the epoch. Default: the last one."),
    ] = None,
    engine: Engine = None,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Imitate demonstrations; writes a model folder to serve, or to go on with."""
    wish = _wish(
        "ppo_init" if ppo_init else "sft", data, model, recipe, out, seed, reward, skip_bad
    )
    _train(wish, engines=engine or [], needs_engine=reward is not None, as_json=as_json)


@app.command()
def rm(
    data: Data,
    out: Out,
    model: Model = None,
    recipe: RecipeName = "default",
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on comparisons and rankings."""
    wish = _wish("reward", data, model, recipe, out, seed, None, skip_bad)
    _train(wish, engines=[], needs_engine=False, as_json=as_json)


@app.command()
def ppo(
    data: Data,
    out: Out,
    reward: Annotated[Path, typer.Option(help="--out of a `train rm` on the same model.")],
    model: Model = None,
    recipe: RecipeName = "default",
    engine: Engine = None,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Raise the reward of the model's answers to the data's prompts, by PPO-ptx."""
    wish = _wish("ppo", data, model, recipe, out, seed, reward, skip_bad)
    _train(wish, engines=engine or [], needs_engine=True, as_json=as_json)


def _wish(
    step: str,
    data: Path,
    model: str | None,
    recipe: str,
    out: Path,
    seed: int,
    reward: Path | None,
    skip_bad: bool,
) -> Wish:
    from serving.stack.dashboard import making_model
    from serving.stack.model import prepare
    from training.standalone import Wish

    data_dir = Path(os.environ.get("HONE_SERVING_DATA_DIR", ".hone"))
    with making_model(_console()) as progress:
        base_model = prepare(model, data_dir=data_dir, progress=progress)
    return Wish(
        step=step,
        data=data,
        base_model=base_model,
        recipe=recipe,
        out=out,
        seed=seed,
        reward=reward,
        skip_bad=skip_bad,
    )


def _train(wish: Wish, *, engines: list[str], needs_engine: bool, as_json: bool) -> None:
    from training import standalone

    with standalone.held(wish.out):
        recipe = standalone.prepare(
            wish, on_bad=lambda where, why: typer.echo(f"{where}: {why}", err=True)
        )
        is_open = needs_engine and not standalone.is_finished(wish)
        with _engines(wish, recipe, engines, is_open=is_open) as environment, _shown(wish) as show:
            report = standalone.run(wish, environment=environment, show=show)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, value in report.items():
        if not isinstance(value, (list, dict)):
            typer.echo(f"{name:24} {value}")
    typer.echo(f"{'all of it':24} {wish.out / wish.step / 'report.json'}")


@contextmanager
def _engines(
    wish: Wish, recipe: Recipe, urls: list[str], *, is_open: bool
) -> Iterator[Mapping[str, str]]:
    """What the step is told to find its engines."""
    from feedback.errors import Unprocessable
    from training import own_engine, standalone

    if not is_open:
        yield {}
        return
    if urls:
        if not os.environ.get("HONE_SERVING_ENGINE_TOKEN"):
            raise Unprocessable(
                "--engine needs its token: set HONE_SERVING_ENGINE_TOKEN to what it was started with "
                "(`hone up` keeps it in .hone/secrets.json)"
            )
        standalone.use_engines(wish.out, urls)
        yield {}
        return
    typer.echo("starting an engine …", err=True)
    with own_engine.serving(wish.base_model, recipe=recipe.model, logs=wish.out / "logs") as own:
        standalone.use_engines(wish.out, [own.url])
        yield {"HONE_SERVING_ENGINE_TOKEN": own.token}


@contextmanager
def _shown(wish: Wish) -> Iterator[Show]:
    """A bar on a terminal; samples there and elsewhere."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    console = _console()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(wish.step, total=1.0, figures="")

        def show(line: Mapping[str, Any]) -> None:
            if "answer" in line:
                console.print(_sample(line), markup=False, highlight=False)
                return
            share = next((v for name, v in line.items() if name.endswith("/progress")), 0.0)
            progress.update(task, completed=share, figures=_figures(line))

        yield show


def _sample(line: Mapping[str, Any]) -> str:
    prompt, answer = (" ".join(line[name].split()) for name in ("prompt", "answer"))
    return (
        f"[{line['iteration']}] score {line['score']:.2f}, KL {line['kl_nats']:.2f}  "
        f"{prompt[-60:]!r} -> {answer[:120]!r}"
    )


def _figures(line: Mapping[str, Any]) -> str:
    shown = (
        "sft/loss",
        "sft/score",
        "reward/loss",
        "reward/accuracy",
        "objective/scores",
        "objective/kl",
    )
    return "  ".join(f"{name.partition('/')[2]} {line[name]:.3g}" for name in shown if name in line)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
