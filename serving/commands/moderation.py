"""`hone moderation versions`, `promote`, `rollback`: added to the moderation package's own commands."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moderation.commands import app
from serving.commands.options import AsJson, DataDir, Reason, Yes, log_change, redis_of, who

if TYPE_CHECKING:
    from moderation.versions import ModerationRecord

__all__ = ["app"]

_HERE = Path(".hone")


@app.command()
def versions(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """The classifier's versions, which rounds of moderation make, and which of them serves."""
    from moderation.versions import Versions

    with redis_of(data) as client:
        live = Versions(client).live()
    if as_json:
        typer.echo(json.dumps(asdict(live)))
        return
    for record in live.versions.values():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        what = f"{made}  {record.digest[:8]}" if record.path else "on board"
        meant = {"production": live.production, "previous": live.previous}
        aliases = [alias for alias, version in meant.items() if version == record.version]
        typer.echo(f"{record.version}  {what:26}  {', '.join(aliases)}".rstrip())


@app.command()
def promote(
    version: str,
    reason: Reason = "",
    yes: Yes = False,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Have every moderation server serve a version; what serves now becomes `previous`."""
    from moderation.versions import Versions

    if not yes:
        typer.confirm(f"Have {version} judge all texts?", abort=True)
    with redis_of(data) as client:
        record = Versions(client).promote(version, by=who(), reason=reason)
        log_change(client, "moderation.promote", version=record.version, reason=reason)
    _say(record, as_json=as_json)


@app.command()
def rollback(
    reason: Reason = "", yes: Yes = False, data: DataDir = _HERE, as_json: AsJson = False
) -> None:
    """Have them serve the previous version again."""
    from moderation.versions import Versions

    if not yes:
        typer.confirm("Have the previous version judge all texts again?", abort=True)
    with redis_of(data) as client:
        record = Versions(client).roll_back(by=who(), reason=reason)
        log_change(client, "moderation.rollback", version=record.version, reason=reason)
    _say(record, as_json=as_json)


def _say(record: ModerationRecord, *, as_json: bool) -> None:
    typer.echo(json.dumps(asdict(record)) if as_json else f"{record.version} judges now")
