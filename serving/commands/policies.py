"""`hone policies …`: reads come from the registry, changes go through the gateway, which swaps."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from feedback.errors import NotFound
from serving.commands.options import AsJson, DataDir, Yes, get_as_admin, post_as_admin, redis_of

if TYPE_CHECKING:
    from serving.registry import Live

app = typer.Typer(
    help="Policy versions: listed, shown, promoted, rolled back.", no_args_is_help=True
)


@app.command("list")
def list_(data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """All versions, and the aliases that mean them."""
    live = _live(data)
    versions = sorted(live.policies)
    if as_json:
        policies = [asdict(live.policies[version]) for version in versions]
        typer.echo(json.dumps({"policies": policies, "aliases": live.aliases}))
        return
    for version in versions:
        record = live.policies[version]
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        typer.echo(
            f"{version}  {made}  {record.kind:8} {record.digest[:8]}  {', '.join(_aliases_of(live, version))}"
        )


@app.command()
def show(version: str, data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """One version: where it is, what it came from. An alias will do."""
    live = _live(data)
    record = live.resolve(version)
    if record is None:
        raise NotFound(
            f"there is no version or alias {version}; `hone policies list` shows what there is"
        )
    fields: dict[str, Any] = {**asdict(record), "aliases": _aliases_of(live, record.version)}
    if as_json:
        typer.echo(json.dumps(fields))
        return
    for name, value in fields.items():
        typer.echo(f"{name:9} {value}")


@app.command()
def promote(
    version: str, yes: Yes = False, data: DataDir = Path(".hone"), as_json: AsJson = False
) -> None:
    """Have a version answer all traffic; what answers now becomes `previous`."""
    if not yes:
        typer.confirm(f"Send all traffic to {version}?", abort=True)
    answer = post_as_admin(f"/admin/policies/{quote(version, safe='')}/promote", data_dir=data)
    typer.echo(json.dumps(answer) if as_json else f"{version} answers now")


@app.command()
def rollback(yes: Yes = False, data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """Have the previous version answer all traffic again."""
    if not yes:
        typer.confirm("Send all traffic to the previous version again?", abort=True)
    answer = post_as_admin("/admin/rollback", data_dir=data)
    typer.echo(
        json.dumps(answer) if as_json else f"{_live(data).aliases.get('production')} answers again"
    )


@app.command()
def watch(
    follow: Annotated[bool, typer.Option(help="Go on when no swap is under way.")] = True,
    data: DataDir = Path(".hone"),
) -> None:
    """What answers, what each engine has, and how far a swap is: a line at every change."""
    shown: list[str] = []
    while True:
        state = get_as_admin("/policy", data_dir=data)
        lines = _state_lines(state)
        if lines != shown:
            typer.echo(time.strftime("%H:%M:%S ") + "\n         ".join(lines))
            shown = lines
        if not follow and state["rollout"] is None:
            return
        time.sleep(0.2)


def _state_lines(state: dict[str, Any]) -> list[str]:
    production, rollout = state["production"], state["rollout"]
    lines = [f"production {production['version'] if production else 'none'}"]
    if rollout is not None:
        lines[0] += f", on its way: {rollout['version']}"
    for engine in state["engines"]:
        is_held = engine["url"] in (rollout or {}).get("held", ())
        doing = " ".join(["swapping"] * engine["swapping"] + ["held"] * is_held)
        loaded = " ".join(entry["version"] for entry in engine["loaded"])
        lines.append(f"{engine['url']}  {loaded if engine['reachable'] else 'away'}  {doing}")
    return lines


def _live(data: Path) -> Live:
    from serving.registry import Registry

    with redis_of(data) as client:
        return Registry(client).snapshot()


def _aliases_of(live: Live, version: str) -> list[str]:
    return sorted(alias for alias, meant in live.aliases.items() if meant == version)
