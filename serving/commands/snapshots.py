"""`hone snapshot …`: everything said up to now, frozen; looked at, checked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from feedback.errors import NotFound, Unprocessable
from serving.commands.options import AsJson, DataDir, redis_of

app = typer.Typer(
    help="Datasets frozen from the log: made, listed, shown, checked.", no_args_is_help=True
)

_HERE = Path(".hone")
_SHARE = "Share of end users, 0 to 1, "


@app.command()
def create(
    name: Annotated[
        str | None, typer.Option(help="Of the folder; one that was interrupted goes on.")
    ] = None,
    heldout_share: Annotated[
        float, typer.Option(min=0, max=0.9, help=_SHARE + "who are never trained on.")
    ] = 0.2,
    validation_share: Annotated[
        float, typer.Option(min=0, max=0.9, help=_SHARE + "apart from both.")
    ] = 0.0,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Freeze everything said up to now. What is left out, capped and masked: HONE_FEEDBACK_SNAPSHOT_…"""
    from feedback.events import new_id
    from feedback.history import History
    from feedback.quality.report import frozen_weights
    from feedback.settings import FeedbackSettings
    from feedback.snapshots import builder, people, rules

    if heldout_share + validation_share >= 1:
        raise typer.BadParameter("nobody is left to train on")
    folder = _folder(data, name or new_id("snap_"))
    shares = {"heldout_share": heldout_share, "validation_share": validation_share}
    folder.mkdir(parents=True, exist_ok=True)
    with redis_of(data) as client:
        manifest = builder.create(
            History(client),
            folder,
            rules=rules.from_settings(FeedbackSettings(), **shares),
            people=people.read(client, weights=frozen_weights(client, folder)),
        )
    _say(folder, manifest, as_json=as_json)


@app.command("list")
def list_(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """All snapshots, oldest first, those of rounds too."""
    found = [(path.parent, json.loads(path.read_bytes())) for path in _manifests(data)]
    found.sort(key=lambda pair: pair[1]["created"])
    if as_json:
        typer.echo(json.dumps([{"folder": str(folder), **each} for folder, each in found]))
        return
    for folder, each in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(each["created"]))
        rows = {part: counts.get("rows", 0) for part, counts in each["parts"].items()}
        typer.echo(
            f"{made}  {rows['rankings']:>8} rankings {rows['prompts']:>8} prompts"
            f" {rows['demonstrations']:>6} demonstrations  {folder}"
        )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A snapshot's name, or a round's.")],
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """One snapshot: what every filter left, and whether its files are still the ones that were written."""
    from feedback.snapshots.files import sha256_of

    folder = next(
        (each for each in (_folder(data, name), _of_round(data, name)) if _is_made(each)), None
    )
    if folder is None:
        raise NotFound(f"there is no snapshot {name}; `hone snapshot list` shows what there is")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    _say(folder, manifest, as_json=as_json)
    for file, written in manifest["files"].items():
        path = folder / file
        if not path.exists() or sha256_of(path) != written["sha256"]:
            raise Unprocessable(
                f"{path} is not what was written: restore it, or make a new snapshot"
            )


@app.command()
def moderation(
    out: Annotated[Path, typer.Option(help="File to write, JSON lines.")],
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """What people said moderation should have said, flags and corrections: its classifier's training data."""
    from feedback.history import History
    from feedback.quality.report import weights
    from feedback.snapshots import moderation as texts
    from feedback.snapshots import people

    with redis_of(data) as client:
        trusted = people.read(client, weights=weights(client))
        report = texts.write(History(client), trusted, out)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for category, count in report["categories"].items():
        typer.echo(f"{category:24} {count['in']:>6} in {count['out']:>6} out")
    typer.echo(f"{report['rows']} texts  {report['sha256'][:12]}  {out}")


def _say(folder: Path, manifest: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **manifest}))
        return
    for part, steps in manifest["funnels"].items():
        typer.echo(f"{part}: {steps[0]['left']} read")
        for step in steps[1:]:
            typer.echo(f"  {step['filter']:24} {-step['removed']:>9} {step['left']:>9} left")
        counts = manifest["parts"][part]
        sides = (
            f"{counts[side]} {side}"
            for side in ("train", "validation", "heldout")
            if side in counts
        )
        typer.echo(f"  = {counts.get('rows', 0)}: {', '.join(sides) or 'none'}")
    typer.echo(
        f"split by {manifest['split_by']}; {manifest['end_users']} end users, {manifest['labelers']} labelers"
    )
    typer.echo(str(folder))


def _manifests(data: Path) -> list[Path]:
    return [*data.glob("snapshots/*/manifest.json"), *data.glob("rounds/*/snapshot/manifest.json")]


def _folder(data: Path, name: str) -> Path:
    if not name or name.startswith(".") or "/" in name:
        raise Unprocessable(f"{name!r} is no name of a folder")
    return data / "snapshots" / name


def _of_round(data: Path, name: str) -> Path:
    return data / "rounds" / name / "snapshot"


def _is_made(folder: Path) -> bool:
    return (folder / "manifest.json").exists()
