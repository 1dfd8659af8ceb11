"""`hone erase`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.options import AsJson, DataDir, Yes, redis_of

if TYPE_CHECKING:
    from feedback.erasure.requests import Erasure


def erase(
    user: Annotated[
        str | None, typer.Option(help="The end user's id: `user` of their requests.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose end user.")] = "default",
    everybody: Annotated[
        bool, typer.Option("--everybody", help="All of the tenant, and all that was said there.")
    ] = False,
    data: DataDir = Path(".hone"),
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove an end user's texts for good: from the log, its archive, queues, and Redis' own files."""
    if (user is None) != everybody:
        raise typer.BadParameter("one of --user ID and --everybody is needed, and not both")
    from getpass import getuser

    from feedback.archive.reader import Archive
    from feedback.erasure import carrying, requests
    from feedback.settings import FeedbackSettings
    from serving.erasures import tracer

    if not yes:
        whose = f"{user} of {tenant}" if user is not None else f"everybody of {tenant}"
        typer.confirm(f"Erase all that {whose} said, for good?", abort=True)
    with redis_of(data) as client:
        settings = FeedbackSettings()
        asked = requests.ask(client, tenant=tenant, user=user, by=f"cli:{getuser()}")
        done = carrying.carry_out_one(
            client, Archive.of(settings), settings, asked, tracer(client, data)
        )
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(_shown(done))
    if done.error is not None:
        raise typer.Exit(1)


def _shown(done: Erasure) -> str:
    if done.error is not None:
        return f"not done, the control worker tries again: {done.error}"
    report = done.report
    lines = [
        f"{report['completions']} completions and {report['judgements']} judgements erased, "
        f"{report['left_archive']} of them from the archive",
        *(f"{name}: {what}" for name, what in report["redis_files"].items()),
    ]
    for name in ("snapshots", "trained_versions", "later_versions", "outboxes"):
        if report[name]:
            lines.append(f"{name.replace('_', ' ')}: {', '.join(report[name])}")
    return "\n".join(lines)
