"""`hone export`, `hone import`: what people said, as a dataset, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from serving.commands.options import AsJson, DataDir, log_change, redis_of

if TYPE_CHECKING:
    from feedback.formats.imports import Format

FORMATS = ("auto", "hone", "jsonl", "hh-rlhf", "openai", "label-studio", "trl")
Tenant = Annotated[str, typer.Option(help="Whose judgements.")]


def export(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    tenant: Tenant = "default",
    heldout_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the people who asked that goes to `test`.")
    ] = 0.1,
    license: Annotated[
        str, typer.Option(help="As the hub names them: cc-by-4.0, apache-2.0, other, …")
    ] = "unknown",
    mask: Annotated[bool, typer.Option(help="Look for personal data, and mask it.")] = True,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Write what people said as a dataset: preference, rankings, demonstrations, ratings."""
    from feedback.formats.export import Options, write
    from feedback.history import History
    from feedback.settings import FeedbackSettings
    from feedback.snapshots import people
    from feedback.snapshots.pii import Masker

    masker = Masker(name_model=FeedbackSettings().snapshot_name_model) if mask else None
    with redis_of(data) as client:
        options = Options(
            tenant=tenant,
            heldout_share=heldout_share,
            license=license,
            people=people.read(client),
            masker=masker,
        )
        manifest = write(History(client), folder, options)
    if as_json:
        typer.echo(json.dumps(manifest))
        return
    for config, rows in manifest["rows"].items():
        typer.echo(f"{config:15} {rows['train']:>9} train {rows['test']:>9} test")
    for reason, count in manifest["left_out"].items():
        typer.echo(f"left out: {count} {reason}")


def import_(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files.")],
    format: Annotated[
        str, typer.Option(help=f"{', '.join(FORMATS)}. auto: told by each record.")
    ] = "auto",
    tenant: Tenant = "default",
    labeler: Annotated[
        str | None, typer.Option(help="Who judged, where the file does not say.")
    ] = None,
    buckets: Annotated[
        str, typer.Option(help="Label Studio's buckets, best first, with commas between.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, write nothing.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the others. Without it: all or nothing.")
    ] = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Take in judgements: our own export, TRL, NeMo-RL, HH-RLHF, OpenAI, Label Studio."""
    from feedback.formats.imports import Wish, run

    if format not in FORMATS:
        raise typer.BadParameter(f"{format}: there are {', '.join(FORMATS)}")
    wish = Wish(
        path=path,
        format=cast("Format", format),
        tenant=tenant,
        labeler=labeler,
        buckets=[name.strip() for name in buckets.split(",") if name.strip()],
        is_dry_run=dry_run,
        skip_bad=skip_bad,
    )
    with redis_of(data) as client:
        report = run(
            client, wish, on_bad=lambda where, why: typer.echo(f"{where}: {why}", err=True)
        )
        if report.added:
            log_change(client, "data.import", path=str(path), tenant=tenant, **report.as_dict())
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    for form, count in report.judgements.items():
        typer.echo(f"{form:15} {count:>9}")
    for reason, count in report.left_out.items():
        typer.echo(f"left out: {count} {reason}")
    if report.bad:
        typer.echo(f"bad: {report.bad} of {report.records} records")
    typer.echo(
        "nothing was written: a dry run"
        if dry_run
        else f"added: {report.added}; there already: {report.already_there}"
    )
