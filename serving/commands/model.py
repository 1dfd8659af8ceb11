"""`hone model …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import DataDir

app = typer.Typer(help="The base model: unpacked or downloaded ahead.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group with one command stays a group."""


@app.command()
def prepare(
    model: Annotated[
        str | None,
        typer.Argument(help="A model's name on the hub, owner/name. Default: SmolLM2-135M."),
    ] = None,
    data: DataDir = Path(".hone"),
) -> None:
    """Have a model under the data folder, unless it is there; write where, for
    HONE_SERVING_BASE_MODEL. `hone up` does this by itself; in containers an init step does."""
    from serving.stack.model import prepare as have

    folder = have(model, data_dir=data, progress=_tell)
    typer.echo(folder)


def _tell(step: int, steps: int, what: str) -> None:
    typer.echo(f"model {step}/{steps}: {what}", err=True)
