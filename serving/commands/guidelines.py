"""`hone label guidelines`: what labelers are asked to go by."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from feedback.errors import BadRequest, NotFound
from serving.commands.options import DataDir, log_change, redis_of


def guidelines(
    edit: Annotated[bool, typer.Option("--edit", help="In $EDITOR.")] = False,
    set_to: Annotated[
        Path | None, typer.Option("--set", help="A Markdown file; `-` reads from standard input.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Back to the text hone comes with.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose labelers read it.")] = "default",
    data: DataDir = Path(".hone"),
) -> None:
    """Show the labelers' guidelines, or change them. They are Markdown."""
    from feedback.labeling import guidelines as kept

    if edit + reset + (set_to is not None) > 1:
        raise BadRequest("one of --edit, --set and --reset at a time")
    with redis_of(data) as client:
        now = kept.read_now(client, tenant=tenant)
        if set_to is not None:
            text = _read(set_to)
        elif reset:
            text = ""
        elif edit:
            text = _edited(now)
        else:
            typer.echo(now)
            return
        if text == now:
            typer.echo("nothing was changed")
            return
        if set_to is not None and not text.strip():
            raise BadRequest(f"{set_to} is empty; --reset brings hone's own text back")
        kept.write(client, text, tenant=tenant)
        log_change(client, "guidelines.write", tenant=tenant, num_chars=len(text))
    typer.echo("labelers see it from now on, at /label/guidelines")


def _edited(text: str) -> str:
    """What is in the file when the editor was closed."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w+", suffix=".md", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            subprocess.run([*shlex.split(editor), file.name], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BadRequest(f"{editor} did not run ({error}); nothing was changed") from None
        return Path(file.name).read_text("utf-8")  # an editor may have put another file there


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None
