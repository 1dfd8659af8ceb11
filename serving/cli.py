"""The command line. Every command imports what it needs when it runs: `hone --help` loads nothing heavy.

`training.cli` adds the trainer's commands to `app` and is what the `hone` script calls.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import typer

from feedback.errors import HoneError
from serving.bench import commands as bench_commands
from serving.canary.state import NOT_GATED
from serving.commands import data as data_commands
from serving.commands import erase as erase_commands
from serving.commands import keys as key_commands
from serving.commands import label as label_commands
from serving.commands import lineage as lineage_commands
from serving.commands import log as log_commands
from serving.commands import model as model_commands
from serving.commands import moderation as moderation_commands
from serving.commands import oversight
from serving.commands import recover as recover_commands
from serving.commands import snapshots as snapshot_commands
from serving.commands.options import AsJson, DataDir, Port
from serving.webhooks import commands as webhook_commands

# Rich help and rich tracebacks cost 0.2 s of imports and say no more.
app = typer.Typer(
    name="hone",
    help="Serves a language model, learns from what people say about its answers, and swaps a better one in.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(key_commands.app, name="keys")
app.add_typer(model_commands.app, name="model")
app.add_typer(log_commands.app, name="log")
app.add_typer(recover_commands.app, name="policies")
app.add_typer(label_commands.app, name="label")
app.add_typer(snapshot_commands.app, name="snapshot")
app.add_typer(webhook_commands.app, name="webhooks")
app.add_typer(bench_commands.app, name="bench")
app.add_typer(moderation_commands.app, name="moderation")
app.command()(data_commands.export)
app.command("import")(data_commands.import_)
app.command()(erase_commands.erase)
app.command()(lineage_commands.lineage)
app.command()(oversight.status)
app.command()(oversight.engines)
app.command()(oversight.audit)


_OURS = ("feedback", "moderation", "serving", "training")
_ELSEWHERE = "in a cluster run it in the control worker's container"
_MAKE_ROOM = "make room there, or name another folder, and run it again"
_CURES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EACCES: "run it as the folder's owner, or name another folder",
    errno.EROFS: _ELSEWHERE,
}


def main() -> None:
    """Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 the gate refused."""
    try:
        app()
    except HoneError as error:
        typer.echo(f"error: {error.message}", err=True)
        sys.exit(3 if error.error_code == NOT_GATED else 1)
    except (ModuleNotFoundError, OSError, sqlite3.OperationalError) as error:
        if (reason := _of_the_place(error)) is None:
            raise
        typer.echo(f"error: {reason}", err=True)
        sys.exit(1)
    except ValueError as error:
        if not (wrong := _wrong_settings(error)):
            raise
        for line in wrong:
            typer.echo(f"error: {line}", err=True)
        sys.exit(2)


def _of_the_place(error: ModuleNotFoundError | OSError | sqlite3.OperationalError) -> str | None:
    """What is wrong with where a command runs, and the cure; None if it is another error. A gateway's image has
    no numpy, and it only reads /data."""
    if isinstance(error, sqlite3.OperationalError):  # what is sorted on disk: an export, a snapshot
        is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        return f"{error}; {_MAKE_ROOM}" if is_full else None
    if isinstance(error, OSError):
        return f"{error}; {_CURES[error.errno]}" if error.errno in _CURES else None
    package = str(error.name).partition(".")[0]
    if package in _OURS:
        return None
    return f"there is no {package} here: `make install` puts it there; {_ELSEWHERE}"


def _wrong_settings(error: ValueError) -> list[str]:
    """A line for each environment variable that is missing or wrong; none if it is another error."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or not error.title.endswith("Settings"):
        return []
    package = error.title.removesuffix("Settings").lower()
    found = error.errors(include_url=False, include_input=False)  # an input may be a secret
    return [
        f"{'_'.join(('HONE', package, *map(str, one['loc'][:1]))).upper()}: {one['msg']} "
        f"(see {package}/settings.py)"
        for one in found
    ]


@app.command()
def up(
    port: Port = 8000,
    host: Annotated[
        str, typer.Option(help="Address of the gateway.", envvar="HONE_SERVING_HOST")
    ] = "127.0.0.1",
    data: DataDir = Path(".hone"),
    model: Annotated[
        str | None,
        typer.Option(help="A model's folder, or its name on the hub. Default: SmolLM2-135M."),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="A Redis that runs already. Default: one is started.",
            envvar="HONE_FEEDBACK_REDIS_URL",
        ),
    ] = None,
) -> None:
    """Start everything on this machine and watch it; Ctrl-C stops it."""
    from rich.console import Console

    from serving.stack.local import Wish, up

    wish = Wish(data_dir=data, host=host, port=port, model=model, redis_url=redis_url)
    up(wish, console=Console())


@app.command()
def doctor(
    port: Port = 8000,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Check this machine, line by line: OK, WARN or FAIL, with the fix."""
    from serving.stack.doctor import examine, shown

    findings = list(examine(data_dir=data, port=port))
    typer.echo(shown(findings, as_json=as_json))
    if any(finding.verdict == "FAIL" for finding in findings):
        raise typer.Exit(1)


@app.command()
def gateway() -> None:
    """Run one gateway in the foreground; settings from HONE_SERVING_…."""
    import uvicorn

    from serving import logs
    from serving.server import Server
    from serving.settings import ServingSettings

    settings = ServingSettings()
    logs.configure(settings.log_level)
    config = uvicorn.Config(
        "serving.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=settings.shutdown_s,
        timeout_keep_alive=settings.keep_alive_s,
    )
    Server(
        config,
        read_timeout_s=settings.client_read_timeout_s,
        write_timeout_s=settings.client_write_timeout_s,
    ).run()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def engine(context: typer.Context) -> None:
    """Run one engine in the foreground; further arguments are vLLM's."""
    from serving.in_vllm.server import main as serve

    serve(context.args)


@app.command()
def drain(
    wait_s: Annotated[
        float, typer.Option(min=0, help="For answers under way, seconds; exit 1 if some are left.")
    ] = 300.0,
) -> None:
    """Have the engine on this machine take no more requests and finish those it has, before it is stopped."""
    from serving.in_vllm.drain import drain
    from serving.settings import ServingSettings

    if not drain(ServingSettings(), wait_s=wait_s):
        typer.echo(f"answers are still under way after {wait_s:g} s", err=True)
        raise typer.Exit(1)
