"""`hone train sft|rm|ppo`: the trainer by itself, without the serving stack."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.options import AsJson

if TYPE_CHECKING:
    from training.config import Recipe
    from training.standalone import Wish

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
        "HONE_SERVING_ENGINE_TOKEN, and --out within its data folder. Default: one is started."
    ),
]

Processes = Annotated[
    int, typer.Option(min=1, help="On this machine, one for each GPU: recipes with full weights.")
]


@app.command()
def sft(
    data: Data,
    out: Out,
    model: Model = None,
    recipe: RecipeName = "cpu-demo",
    ppo_init: Annotated[
        bool, typer.Option("--ppo-init", help="PPO's initial policy, not the baseline.")
    ] = False,
    reward: Annotated[
        Path | None,
        typer.Option(help="--out of a `train rm`: chooses the epoch. Default: the last one."),
    ] = None,
    engine: Engine = None,
    processes: Processes = 1,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Imitate demonstrations; writes a model folder to serve, or to go on with."""
    wish = _wish(
        "ppo_init" if ppo_init else "sft",
        data=data,
        model=model,
        recipe=recipe,
        out=out,
        seed=seed,
        reward=reward,
        skip_bad=skip_bad,
    )
    _train(
        wish,
        engines=engine or [],
        needs_engine=reward is not None,
        num_processes=processes,
        as_json=as_json,
    )


@app.command()
def rm(
    data: Data,
    out: Out,
    model: Model = None,
    recipe: RecipeName = "cpu-demo",
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Cross-validate too: labelers and prompts left out in so many turns."
        ),
    ] = None,
    export: Annotated[
        bool,
        typer.Option("--export", help="Write it for AutoModelForSequenceClassification and vLLM."),
    ] = False,
    processes: Processes = 1,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on comparisons and rankings."""
    wish = _wish(
        "reward",
        data=data,
        model=model,
        recipe=recipe,
        out=out,
        seed=seed,
        skip_bad=skip_bad,
        num_folds=folds or 0,
    )
    more = [*(["folds"] if folds else []), *(["export"] if export else [])]
    _train(wish, more=more, num_processes=processes, as_json=as_json)


@app.command()
def ppo(
    data: Data,
    out: Out,
    reward: Annotated[Path, typer.Option(help="--out of a `train rm` on the same model.")],
    model: Model = None,
    recipe: RecipeName = "cpu-demo",
    engine: Engine = None,
    processes: Processes = 1,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Raise the reward of the model's answers to the data's prompts, by PPO-ptx."""
    wish = _wish(
        "ppo",
        data=data,
        model=model,
        recipe=recipe,
        out=out,
        seed=seed,
        reward=reward,
        skip_bad=skip_bad,
    )
    _train(
        wish,
        engines=engine or [],
        needs_engine=True,
        num_processes=processes,
        as_json=as_json,
    )


def _wish(step: str, *, data: Path, model: str | None, recipe: str, **asked: Any) -> Wish:
    """What is wrong with it is said before a model is made or downloaded."""
    from training.config import load_recipe
    from training.standalone import Wish, check_data

    check_data(data)
    load_recipe(recipe)
    return Wish(step=step, data=data, base_model=_base_model(model), recipe=recipe, **asked)


def _base_model(model: str | None) -> Path:
    """The folder; made or downloaded the first time."""
    from serving.stack.dashboard import making_model
    from serving.stack.model import prepare
    from training import train_progress

    data_dir = Path(os.environ.get("HONE_SERVING_DATA_DIR", ".hone"))
    with making_model(train_progress.stderr()) as progress:
        return prepare(model, data_dir=data_dir, progress=progress)


def _train(
    wish: Wish,
    *,
    more: Sequence[str] = (),
    engines: Sequence[str] = (),
    needs_engine: bool = False,
    num_processes: int,
    as_json: bool,
) -> None:
    """The step, then `more` steps on its result."""
    from training import standalone, train_progress
    from training.rounds import is_done

    with standalone.held(wish.out):
        recipe = standalone.prepare(
            wish, on_bad=lambda where, why: typer.echo(f"{where}: {why}", err=True)
        )
        if "folds" in more:
            standalone.forget_other_folds(wish)
        is_open = needs_engine and not is_done(wish.out, wish.step)
        with _engines(wish, recipe, engines, is_open=is_open) as environment:
            report = _run(wish.out, wish.step, environment, num_processes)
        report |= {step: _run(wish.out, step, {}, num_processes=1) for step in more}
    if as_json:
        typer.echo(json.dumps(report))
        return
    for line in train_progress.told(report):
        typer.echo(line)
    typer.echo(f"{'all of it':32} {wish.out / wish.step / 'report.json'}")


def _run(
    out: Path, step: str, environment: Mapping[str, str], num_processes: int
) -> dict[str, Any]:
    from training import standalone, train_progress

    with train_progress.shown(step) as show:
        return standalone.run(
            out, step, environment=environment, show=show, num_processes=num_processes
        )


@contextmanager
def _engines(
    wish: Wish, recipe: Recipe, urls: Sequence[str], *, is_open: bool
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
        standalone.use_engines(wish.out, list(urls))
        yield {}
        return
    typer.echo("starting an engine …", err=True)
    with own_engine.serving(wish.base_model, recipe=recipe.model, out=wish.out) as own:
        standalone.use_engines(wish.out, [own.url])
        yield {"HONE_SERVING_ENGINE_TOKEN": own.token}
