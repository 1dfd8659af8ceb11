"""`hone label correct`: what moderation should have said of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.commands.options import AsJson, DataDir, post_as_admin


def correct(
    completion_id: Annotated[
        str | None, typer.Argument(help="A completion's id. Without --index its prompt is meant.")
    ] = None,
    index: Annotated[int | None, typer.Option(min=0, help="Which of its answers.")] = None,
    text: Annotated[
        str | None,
        typer.Option(help="A text that the log does not hold, such as a refused prompt."),
    ] = None,
    yes: Annotated[
        list[str] | None, typer.Option("--is", help="A category it belongs to; may be repeated.")
    ] = None,
    no: Annotated[
        list[str] | None, typer.Option("--is-not", help="One that it does not; may be repeated.")
    ] = None,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Say what moderation should have said: `hone snapshot moderation` gives it to its classifier."""
    labels = dict.fromkeys(yes or [], True) | dict.fromkeys(no or [], False)
    said = {"completion_id": completion_id, "index": index, "text": text, "labels": labels}
    body: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    answer = post_as_admin("/v1/feedback/corrections", data_dir=data, body=body)
    typer.echo(json.dumps(answer) if as_json else f"{answer['id']} is in the log")
