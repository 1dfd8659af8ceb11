"""`hone status`, `hone engines`, `hone audit`: what the console shows, on a terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.commands.options import AsJson, DataDir, get_as_admin

_HERE = Path(".hone")


def status(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """What serves, what learns, what waits, and what is wrong."""
    state = get_as_admin("/admin/overview", data_dir=data)
    if as_json:
        typer.echo(json.dumps(state))
        return
    for name, said in _status_lines(state):
        typer.echo(f"{name:12} {said}")


def engines(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """What each engine has loaded, how fast it came, and how busy it is."""
    rows = get_as_admin("/admin/engines", data_dir=data)["data"]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        vitals = row["vitals"] or {}
        busy = [
            f"{name} {vitals[field]:{form}}"
            for name, field, form in (
                ("kv-cache", "kv_cache_share", ".0%"),
                ("tokens/s", "written_per_s", ".1f"),
            )
            if vitals.get(field) is not None
        ]
        typer.echo("  ".join([row["url"], "up" if row["reachable"] else "away", *busy]))
        for entry in row["loaded"]:
            took = f"{entry['load_ms']:.0f} ms" if entry["load_ms"] is not None else ""
            digest = (entry["digest"] or "")[:12]
            typer.echo(f"  {entry['version']:12} {digest}  {took:>9}  {entry['alias'] or ''}")


def audit(
    data: DataDir = _HERE,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    before: Annotated[str | None, typer.Option(help="Those before this entry.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who changed what and why, newest first."""
    query = f"?limit={limit}" + (f"&before={before}" if before else "")
    found = get_as_admin(f"/admin/audit{query}", data_dir=data)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for entry in found["data"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["created"]))
        reason = entry["detail"].get("reason", "")
        typer.echo(f"{when}  {entry['actor']:32} {entry['action']:18} {reason}")
    if found["has_more"]:
        typer.echo(f"older ones: hone audit --before {found['data'][-1]['entry']}", err=True)


def _status_lines(state: dict[str, Any]) -> list[tuple[str, str]]:
    """A name and what is said of it."""
    lines = [("production", _named(state["production"])), ("previous", _named(state["previous"]))]
    if (canary := state["canary"]) is not None:
        verdict = canary["verdict"]
        said = f", {verdict['reason']}" if verdict else ""
        lines.append(("canary", f"{canary['version']} for {canary['share'] or 0:.0%}{said}"))
    counts = state["engines"]
    lines.append(("engines", f"{counts['reachable']} of {counts['all']} answer"))
    if (learning := state["learning"]) is not None:
        doing = "paused" if learning["paused"] else learning["active"] or _waiting(learning)
        lines.append(("learning", f"{doing}, {learning['new_judgements']} new judgements"))
    if (gate := state["gate"]) is not None:
        failed = ", ".join(gate["failed_checks"])
        verdict = "passed" if gate["passed"] else f"refused for {failed}"
        lines.append(("last gate", f"{gate['round_id']} {verdict}"))
    if (backlog := state["backlog"]) is not None:
        waiting = ", ".join(f"{n} to {task}" for task, n in backlog["queues"].items())
        hour = backlog["hours"][-2]["judgements"]
        lines.append(("labeling", f"{waiting}; {hour} judgements in the last full hour"))
    return lines + [("needs a look", trouble) for trouble in state["troubles"]]


def _waiting(learning: dict[str, Any]) -> str:
    return f"waiting for the canary {learning['waits_for']}" if learning["waits_for"] else "waiting"


def _named(version: dict[str, Any] | None) -> str:
    return f"{version['version']} {version['digest'][:8]}" if version is not None else "none"
