"""`hone webhooks …`"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import AsJson, DataDir, log_change, redis_of

app = typer.Typer(
    help="Webhooks: signed posts when a version goes live or a round ends.", no_args_is_help=True
)


@app.command()
def add(
    url: str,
    event: Annotated[
        list[str] | None, typer.Option(help="A type to be told of; several times. Default: all.")
    ] = None,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Have events posted to an address, and show the secret that signs them, this once."""
    from serving.webhooks.store import Webhooks, revealed

    with redis_of(data) as client:
        endpoint = Webhooks(client).add(url, events=event or ())
        log_change(client, "webhooks.create", webhook=endpoint.id)
    if as_json:
        typer.echo(json.dumps(revealed(endpoint)))
        return
    typer.echo(f"{endpoint.secret}\n{endpoint.id}. The secret is not shown again.")


@app.command()
def rotate(
    endpoint_id: str,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for which the old secret signs as well.")
    ] = 86_400.0,
    data: DataDir = Path(".hone"),
) -> None:
    """Give a webhook a new secret and show it, this once; one that answered 410 is called again."""
    from serving.webhooks.store import Webhooks

    with redis_of(data) as client:
        endpoint = Webhooks(client).rotate(endpoint_id, grace_s=grace, now=time.time())
        log_change(client, "webhooks.rotate", webhook=endpoint.id)
    typer.echo(f"{endpoint.secret}\n{endpoint.id}. The secret is not shown again.")


@app.command("list")
def list_(data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """All webhooks: what they are told, what came of the last attempt, how many events wait."""
    from serving.webhooks.store import Webhooks

    with redis_of(data) as client:
        webhooks = Webhooks(client)
        shown = [webhooks.show(endpoint) for endpoint in webhooks.list()]
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for row in shown:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["last_attempt"]))
        last = f"{at} {row['last_outcome']}" if row["last_attempt"] else "not called yet"
        state = "disabled  " if row["is_disabled"] else ""
        typer.echo(
            f"{row['id']}  {state}{row['url']}  {','.join(row['events']) or 'all'}  {last}  "
            f"{row['pending']} pending, {row['num_failed']} given up"
        )


@app.command("test")
def try_(endpoint_id: str, data: DataDir = Path(".hone")) -> None:
    """Post a `webhook.test` event from here, now and once; exit 1 unless it is taken."""
    import asyncio

    from serving.webhooks.delivery import post_test
    from serving.webhooks.store import Webhooks

    with redis_of(data) as client:
        endpoint = Webhooks(client).get(endpoint_id)
    outcome = asyncio.run(post_test(endpoint))
    typer.echo(f"{endpoint.url}: {outcome.says}")
    if not outcome.is_delivered:
        raise typer.Exit(1)


@app.command()
def remove(endpoint_id: str, data: DataDir = Path(".hone")) -> None:
    """Post nothing there any more; what still waits for it is dropped."""
    from serving.webhooks.store import Webhooks

    with redis_of(data) as client:
        endpoint = Webhooks(client).remove(endpoint_id)
        log_change(client, "webhooks.remove", webhook=endpoint.id)
    typer.echo(f"removed {endpoint.id} ({endpoint.url})")
