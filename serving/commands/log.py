"""`hone log …`"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.commands.options import AsJson, DataDir, redis_of

app = typer.Typer(
    help="The log: follow it, see how much is where, archive now.", no_args_is_help=True
)

_HERE = Path(".hone")


@app.command()
def tail(
    kind: Annotated[
        list[str] | None,
        typer.Option(help="completions, feedback, moderation, rounds, audit; several times."),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Of what was before.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what comes; Ctrl-C ends it.")] = True,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """The newest events, and those that come. Texts are cut; with --json they are whole."""
    from feedback import keys, tail
    from feedback.errors import BadRequest
    from feedback.events import Event, encode

    kinds = tuple(kind or keys.KINDS)
    if unknown := set(kinds) - set(keys.KINDS):
        raise BadRequest(f"kinds are {', '.join(keys.KINDS)}; not {', '.join(sorted(unknown))}")

    def show(entry: str, event: Event) -> None:
        if as_json:
            typer.echo(f'{{"entry":"{entry}","kind":"{event.kind}",{encode(event).decode()[1:]}')
        else:
            typer.echo(tail.line(entry, event))

    with redis_of(data) as client:
        following = tail.follow(client, kinds)
        for entry, event in tail.newest(client, kinds, count=lines):
            show(entry, event)
        try:
            for entry, event in following if follow else ():
                show(entry, event)
        except KeyboardInterrupt:
            return


@app.command()
def stats(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """Of each kind of event: how many are in Redis and in the archive, how large, how old."""
    from feedback.archive.figures import figures, num_waiting
    from feedback.archive.reader import Archive
    from feedback.settings import FeedbackSettings

    with redis_of(data) as client:
        rows = figures(client, Archive.of(FeedbackSettings()))
    outboxes = num_waiting(sorted(data.glob("*outbox*.sqlite")))
    if as_json:
        typer.echo(json.dumps({"kinds": rows, "outboxes": outboxes}))
        return
    typer.echo(
        f"{'':12}{'in Redis':>10}{'bytes':>10}{'archived':>10}{'bytes':>10}  {'oldest':16}  newest"
    )
    for row in rows:
        typer.echo(
            f"{row['kind']:12}{row['events_in_redis']:>10}{_size(row['bytes_in_redis']):>10}"
            f"{row['events_in_archive']:>10}{_size(row['bytes_in_archive']):>10}"
            f"  {_when(row['oldest']):16}  {_when(row['newest'])}"
        )
    for path, waiting in outboxes.items():
        typer.echo(f"{path}: {'not readable' if waiting is None else f'{waiting} events'}")


@app.command()
def archive(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """Archive now what is old enough, as the control worker does every minute."""
    from feedback.archive.archiver import Archiver
    from feedback.archive.reader import Archive
    from feedback.errors import Conflict
    from feedback.settings import FeedbackSettings

    with redis_of(data) as client:
        settings = FeedbackSettings()
        done = Archiver(client, Archive.of(settings), settings).run()
    if done.is_elsewhere:
        raise Conflict("another process archives just now; `hone log stats` shows what came of it")
    if as_json:
        written = [segment.name for segment in done.segments]
        typer.echo(
            json.dumps({"events": done.num_events, "erased": done.num_erased, "segments": written})
        )
        return
    for segment in done.segments:
        typer.echo(f"{segment.name}  {segment.events} events  {_size(segment.file_bytes)}")
    typer.echo(f"{done.num_events} events archived, {done.num_erased} erased ones removed")


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"
        size /= 1000
    raise AssertionError


def _when(seconds: Any) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
