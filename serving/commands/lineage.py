"""`hone lineage`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from feedback.errors import Unavailable
from serving.commands.options import AsJson, DataDir, redis_of


def lineage(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of an answer, a judgement, a version, a round or a snapshot; an alias; user:NAME.",
        ),
    ],
    forward: Annotated[
        bool, typer.Option("--forward", help="What it went into, instead of where it comes from.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose end user.")] = "default",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every file; exit 1 if anything is broken.")
    ] = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """From a served answer to the judgements behind its weights; or forward, to the versions touched."""
    from serving.lineage import text
    from serving.lineage.trail import trace

    with redis_of(data) as client:
        try:
            trail = trace(
                client,
                data,
                asked,
                direction="forward" if forward else "backward",
                tenant=tenant,
                verify=verify,
            )
        except OSError as error:
            raise Unavailable(f"a folder or the archive cannot be read: {error}") from None
    typer.echo(json.dumps(trail.shown()) if as_json else text.told(trail))
    if verify and trail.breaks:
        raise typer.Exit(1)
