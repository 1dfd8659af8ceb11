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
from serving.commands.options import (
    AsJson,
    DataDir,
    Reason,
    Yes,
    get_as_admin,
    post_as_admin,
    redis_of,
)

if TYPE_CHECKING:
    from serving.registry import Live

Override = Annotated[
    str | None, typer.Option("--override", help="Why a version without a passed gate may serve.")
]
Digest = Annotated[
    str | None, typer.Option("--digest", help="Beginning of its SHA-256: these weights, no others.")
]

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
            + ("weights removed" if record.removed is not None else "")
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
def card(
    version: str,
    write: Annotated[
        bool, typer.Option("--write", help="Into the version's folder, as README.md.")
    ] = False,
    data: DataDir = Path(".hone"),
) -> None:
    """A version's model card: data, recipe, gate, canary, licence of the base, limits. An alias will do."""
    from serving.lineage import card as model_card
    from serving.lineage import card_facts
    from serving.lineage.chain import Chain

    with redis_of(data) as client:
        folder, facts = card_facts.of_version(Chain.read(client, data), version)
    if write:
        card_facts.write(folder, facts)
        typer.echo(f"{folder / 'README.md'}")
        return
    typer.echo(model_card.text(facts), nl=False)


@app.command()
def promote(
    version: str,
    reason: Reason = "",
    override: Override = None,
    digest: Digest = None,
    yes: Yes = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Have a version answer all traffic; what answers now becomes `previous`. A canary ends."""
    if not yes:
        typer.confirm(f"Send all traffic to {version}?", abort=True)
    body = _without_none(reason=reason, override=override, digest=digest)
    answer = post_as_admin(_at(version, "promote"), data_dir=data, body=body)
    typer.echo(json.dumps(answer) if as_json else f"{version} answers now")


@app.command()
def rollback(
    reason: Reason = "",
    yes: Yes = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Abort the canary; where there is none, have the previous version answer all traffic again."""
    if not yes:
        typer.confirm("Take back the newest version: the canary, or production?", abort=True)
    answer = post_as_admin("/admin/rollback", data_dir=data, body={"reason": reason})
    typer.echo(json.dumps(answer) if as_json else f"{answer['version']} answers everybody")


@app.command()
def canary(
    version: Annotated[
        str | None, typer.Argument(help="Which version; none: how the canary is doing.")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the end users. Of one that runs it may grow.")
    ] = 0.1,
    reason: Reason = "",
    override: Override = None,
    digest: Digest = None,
    hold: Annotated[bool, typer.Option("--hold", help="Only a person promotes it.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Production answers everybody.")] = False,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Have a version answer a share of the people until what they say decides; without VERSION, look."""
    if hold or abort:
        path = f"/admin/canary/{'hold' if hold else 'abort'}"
        post_as_admin(path, data_dir=data, body={"reason": reason})
    elif version is not None:
        body = _without_none(share=share, reason=reason, override=override, digest=digest)
        post_as_admin(_at(version, "canary"), data_dir=data, body=body)
    state = get_as_admin("/admin/canary", data_dir=data)
    typer.echo(json.dumps(state) if as_json else "\n".join(canary_lines(state)))


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


def canary_lines(state: dict[str, Any]) -> list[str]:
    """What runs, or how the last one ended, for a person."""
    running, history = state["running"], state["history"]
    if running is None and not history:
        return ["there has been no canary yet"]
    if running is None:
        last = history[0]
        return [f"no canary; {last['version']} was {last['outcome']}: {last['end_reason'] or '-'}"]
    verdict, pairs = state["verdict"], state["figures"]["pairs"]
    lines = [
        f"{running['version']} answers {running['share']:.0%} beside {running['incumbent']}, "
        f"{running['status']}: {verdict['reason']}"
    ]
    for arm in ("canary", "production"):
        of = state["figures"][arm]
        p50 = (of["latency_ms"] or {}).get("p50", "-")
        lines.append(
            f"  {arm:10} {of['answers']} answers, {of['errors']} failed, {of['flags']} flagged, "
            f"{of['thumbs_up']} up, {of['thumbs_down']} down, {p50} ms"
        )
    rate = "-" if pairs["win_rate"] is None else f"{pairs['win_rate']:.0%}"
    lines.append(
        f"  pairs      {pairs['votes']} votes of {pairs['people']} people, won {rate}; "
        f"of all people {pairs['low']:.0%} to {pairs['high']:.0%}"
    )
    tests = [f"{test['name']} {test['e_value']:.3g}" for test in verdict["tests"]]
    lines.append(
        f"  evidence   {', '.join(tests)} (each speaks at {verdict['tests'][0]['needed']:.0f})"
    )
    return lines


def _at(version: str, what: str) -> str:
    return f"/admin/policies/{quote(version, safe='')}/{what}"


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _live(data: Path) -> Live:
    from serving.registry import Registry

    with redis_of(data) as client:
        return Registry(client).snapshot()


def _aliases_of(live: Live, version: str) -> list[str]:
    return sorted(alias for alias, meant in live.aliases.items() if meant == version)
