"""`hone label …`: who labels, and the known answers they are tested on."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from serving.commands.correct import correct
from serving.commands.guidelines import guidelines
from serving.commands.label_stats import stats
from serving.commands.options import AsJson, DataDir, log_change, ready, redis_of

if TYPE_CHECKING:
    from feedback.labeling.labelers import Labeler, Status

T = TypeVar("T")

app = typer.Typer(
    help="Labelers: invited, listed, accepted, blocked; known answers; moderation corrected.",
    no_args_is_help=True,
)
known_app = typer.Typer(help="Sets whose right order is known.", no_args_is_help=True)
app.add_typer(known_app, name="known")
app.command()(stats)
app.command()(correct)
app.command()(guidelines)

_HERE = Path(".hone")


@app.command()
def invite(
    tenant: Annotated[str, typer.Option(help="Whose answers they judge.")] = "default",
    heldout: Annotated[
        bool, typer.Option("--heldout", help="Never trained on: measures how well it generalises.")
    ] = False,
    trusted: Annotated[bool, typer.Option("--trusted", help="Counts without screening.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Where people reach the gateway. Default: the running stack's own address.",
            envvar="HONE_SERVING_PUBLIC_URL",
        ),
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="How long the link is good.")] = 7.0,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Make a link by which one person joins."""
    from feedback.labeling.labelers import Labelers

    address = (url or ready(data)["url"]).rstrip("/")
    terms = {"tenant": tenant, "is_heldout": heldout, "is_trusted": trusted}
    token = _ask(
        data,
        lambda client: Labelers(client).invite(by="cli", valid_s=days * 86_400, **terms),  # type: ignore[arg-type]
    )
    with redis_of(data) as client:
        log_change(client, "labelers.invite", **terms)
    link = f"{address}/label/join/{token}"
    typer.echo(json.dumps({"link": link, **terms}) if as_json else link)


@app.command("list")
def list_(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """Everybody who labels."""
    from feedback.labeling.labelers import Labelers

    found = _ask(data, lambda client: Labelers(client).all())
    if as_json:
        typer.echo(json.dumps([_public(labeler) for labeler in found]))
        return
    for labeler in found:
        joined = time.strftime("%Y-%m-%d", time.localtime(labeler.created))
        share = labeler.screen_agreement
        tested = f"{labeler.num_screened} tested, {share:.0%}" if share is not None else ""
        heldout = "held out" if labeler.is_heldout else ""
        typer.echo(
            f"{labeler.id}  {joined}  {labeler.status:9} {heldout:8} {tested:15} {labeler.tenant:10} {labeler.name}"
        )


@app.command()
def accept(labeler_id: str, data: DataDir = _HERE) -> None:
    """Let what they say count, whatever the screening says."""
    _set_status(labeler_id, "active", data)


@app.command()
def block(labeler_id: str, data: DataDir = _HERE) -> None:
    """Log them out for good; what they said counts no more."""
    _set_status(labeler_id, "blocked", data)


@app.command()
def rescreen(labeler_id: str, data: DataDir = _HERE) -> None:
    """Test them anew."""
    _set_status(labeler_id, "screening", data)


@known_app.command("add")
def add_known(
    completion_id: str,
    tiers: Annotated[
        str, typer.Option(help="Numbers of its answers, best first: '2 0,3 1' has 0 and 3 equal.")
    ],
    data: DataDir = _HERE,
) -> None:
    """State the right order of a set's answers; labelers are tested on it."""
    from feedback.history import History
    from feedback.labeling.known_answers import KnownAnswers

    with redis_of(data) as client:
        completion = _completion(History(client), completion_id)
        wanted = _parse_tiers(tiers)
        _ask(data, lambda other: KnownAnswers(other).add(completion, wanted, by="cli"))
        log_change(client, "known_answers.add", completion_id=completion_id, tiers=wanted)
    typer.echo(f"{completion_id} is a known answer now")


@known_app.command("list")
def list_known(
    tenant: Annotated[str, typer.Option(help="Whose.")] = "default",
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """All of them."""
    from feedback.labeling.known_answers import KnownAnswers

    found = _ask(data, lambda client: KnownAnswers(client).all(tenant=tenant))
    if as_json:
        typer.echo(json.dumps([asdict(known) for known in found]))
        return
    for known in found:
        order = " ".join(",".join(map(str, tier)) for tier in known.tiers)
        typer.echo(f"{known.completion_id}  {order}")


@known_app.command("remove")
def remove_known(completion_id: str, data: DataDir = _HERE) -> None:
    """Use it no more to test people."""
    from feedback.errors import NotFound
    from feedback.labeling.known_answers import KnownAnswers

    if not _ask(data, lambda client: KnownAnswers(client).remove(completion_id)):
        raise NotFound(f"{completion_id} is no known answer")
    with redis_of(data) as client:
        log_change(client, "known_answers.remove", completion_id=completion_id)


def _set_status(labeler_id: str, status: Status, data: Path) -> None:
    from feedback.labeling.labelers import Labelers

    labeler = _ask(data, lambda client: Labelers(client).set_status(labeler_id, status))
    with redis_of(data) as client:
        log_change(client, f"labelers.{status}", id=labeler.id)
    typer.echo(f"{labeler.id} ({labeler.name}) is {labeler.status}")


def _ask(data: Path, question: Callable[[Any], Awaitable[T]]) -> T:
    """Ask the stack's Redis by an asynchronous client: the gateway's code is the only one there is."""
    from feedback.connection import connect_async

    async def ask() -> T:
        async with connect_async(url) as client:
            return await question(client)

    with redis_of(data) as known:  # says what is wrong when there is none
        known.ping()
        url = _redis_url(data)
    return asyncio.run(ask())


def _redis_url(data: Path) -> str:
    return os.environ.get("HONE_FEEDBACK_REDIS_URL") or str(ready(data)["redis_url"])


def _public(labeler: Labeler) -> dict[str, Any]:
    fields = asdict(labeler)
    del fields["password"]
    return {**fields, "screen_agreement": labeler.screen_agreement}


def _completion(history: Any, completion_id: str) -> Any:
    from feedback.errors import NotFound
    from feedback.events import Completion

    found = history.get(Completion.kind, completion_id)
    if found is None:
        raise NotFound(f"there is no completion {completion_id} in the log")
    return found


def _parse_tiers(text: str) -> list[list[int]]:
    from feedback.errors import BadRequest

    try:
        return [[int(number) for number in tier.split(",")] for tier in text.split()]
    except ValueError:
        raise BadRequest("write tiers as numbers, best first: '2 0,3 1'", param="tiers") from None
