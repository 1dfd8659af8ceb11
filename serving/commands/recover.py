"""`hone policies recover`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feedback.errors import Unavailable
from serving.commands.options import AsJson, DataDir, Yes, log_change, redis_of
from serving.commands.policies import app

if TYPE_CHECKING:
    import redis

    from serving.recovery.found import OnDisk
    from serving.recovery.plan import Group, Plan

__all__ = ["app"]


@app.command()
def recover(
    production: Annotated[
        str | None, typer.Option(help="What answered last, where the log does not say it.")
    ] = None,
    moderation: Annotated[
        str | None, typer.Option(help="The same of moderation's classifier.")
    ] = None,
    yes: Yes = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Make the registry anew from the folders, where Redis was lost; policies and moderation alike."""
    from feedback.settings import FeedbackSettings
    from serving.recovery import apply, found

    chosen: dict[Group, str | None] = {"policy": production, "moderation": moderation}
    with redis_of(data) as client:
        try:
            disk = found.look(data)
            plan = _agreed(client, disk, chosen, yes=yes, as_json=as_json)
            apply.carry_out(client, disk, FeedbackSettings(), chosen=chosen)
        except OSError as error:
            raise Unavailable(f"a folder or the archive cannot be read: {error}") from None
        log_change(
            client,
            "recover",
            versions=[record.version for record in plan.records],
            aliases={group: dict(aliases) for group, aliases in plan.aliases.items()},
            counters=dict(plan.counters),
        )
    typer.echo(json.dumps(_shown(plan)) if as_json else "the registry is whole again")


def _agreed(
    client: redis.Redis,
    disk: OnDisk,
    chosen: dict[Group, str | None],
    *,
    yes: bool,
    as_json: bool,
) -> Plan:
    """The plan, after what nobody knows was asked for. `chosen` is filled in."""
    from feedback.settings import FeedbackSettings
    from serving.recovery import apply
    from serving.recovery.plan import NeedsProduction

    while True:
        try:
            plan = apply.prepare(client, disk, FeedbackSettings(), chosen=chosen)
            break
        except NeedsProduction as unknown:
            if yes:
                raise
            what = f"Which version of {unknown.group} was live last?"
            chosen[unknown.group] = typer.prompt(what, default=unknown.likely)
    if not as_json:
        typer.echo(_told(plan))
    if not yes:
        typer.confirm("Write this into the registry?", abort=True)
    return plan


def _shown(plan: Plan) -> dict[str, object]:
    return {
        "versions": [asdict(record) for record in plan.records],
        "aliases": {group: dict(aliases) for group, aliases in plan.aliases.items()},
        "counters": dict(plan.counters),
        "rounds": {round_id: state["status"] for round_id, state in plan.rounds.items()},
        "left_out": {each.version: each.problem for each in plan.left_out},
        "notes": list(plan.notes),
    }


def _told(plan: Plan) -> str:
    lines = [f"{record.version}  {record.digest[:12]}" for record in plan.records]
    lines += [f"{round_id}   {state['status']}" for round_id, state in plan.rounds.items()]
    lines += [f"{each.version}  left out: {each.problem}" for each in plan.left_out]
    for group, aliases in plan.aliases.items():
        lines += [f"{group}: {name} is {version}" for name, version in aliases.items()]
    last = ", ".join(f"{kind}-{number:04d}" for kind, number in plan.counters.items())
    return "\n".join([*lines, f"numbers go on after {last}", *plan.notes])
