"""`hone keys …`"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.options import AsJson, DataDir, log_change, redis_of

if TYPE_CHECKING:
    from moderation.policy import Stage
    from serving.auth import ApiKey

app = typer.Typer(help="API keys: made, listed, rotated, revoked.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Whose key, for the list.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="infer, label, view (the console), view_texts or admin; several times."),
    ] = None,
    tenant: Annotated[
        str, typer.Option(help="Keys of one tenant see each other's completions.")
    ] = "default",
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Default: the gateway's.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Read and written. Default: the gateway's.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Answers under way. Default: the gateway's.")
    ] = None,
    store: Annotated[
        bool, typer.Option(help="Keep completions when a request does not say.")
    ] = True,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    from serving import auth

    with redis_of(data) as client:
        secret, record = auth.create_key(
            client,
            name=name,
            scopes=scope or ["infer"],
            tenant=tenant,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            max_concurrent=max_concurrent,
            store=store,
        )
        log_change(client, "keys.create", **asdict(record))
    _show_secret(secret, record, as_json=as_json)


@app.command("list")
def list_(data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """All keys, without the secrets."""
    from serving import auth

    with redis_of(data) as client:
        records = auth.list_keys(client)
    if as_json:
        typer.echo(json.dumps([asdict(record) for record in records]))
        return
    for record in records:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        typer.echo(
            f"{record.id}  {made}  {','.join(record.scopes):18} {record.tenant:10} {record.name}"
        )


@app.command()
def rotate(
    key_id: str,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for which the old secret still works.")
    ] = 3600.0,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and show it, this once."""
    from serving import auth

    with redis_of(data) as client:
        secret, record = auth.rotate_key(client, key_id, grace_s=grace)
        log_change(client, "keys.rotate", id=key_id, grace_s=grace)
    _show_secret(secret, record, as_json=as_json)


@app.command()
def revoke(key_id: str, data: DataDir = Path(".hone")) -> None:
    """Forget a key: requests with it are refused from the next second on."""
    from serving import auth

    with redis_of(data) as client:
        record = auth.revoke_key(client, key_id)
        log_change(client, "keys.revoke", **asdict(record))
    typer.echo(f"revoked {record.id} ({record.name})")


@app.command()
def moderation(
    key_id: str,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="CATEGORY=allow, flag or block, for prompts; 'all' is every other one."),
    ] = None,
    answer: Annotated[list[str] | None, typer.Option(help="The same for answers.")] = None,
    data: DataDir = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Say what happens to a key's flagged texts. What is not named is blocked, as without any of it."""
    from serving import auth

    with redis_of(data) as client:
        actions: dict[Stage, dict[str, str]] = {
            "prompt": _actions(prompt or []),
            "completion": _actions(answer or []),
        }
        record = auth.set_moderation(client, key_id, actions)
        log_change(client, "keys.moderation", id=key_id, **actions)
    if as_json:
        typer.echo(json.dumps(asdict(record)))
        return
    typer.echo(f"{record.id} ({record.name})")
    for stage in ("prompt", "completion"):
        named = record.moderation.get(stage, {})
        said = [f"{category}: {action}" for category, action in named.items()]
        typer.echo(f"  {stage:10} {', '.join(said) or 'all: block'}")


def _actions(pairs: list[str]) -> dict[str, str]:
    named = [pair.partition("=") for pair in pairs]
    return {category: action for category, _, action in named}


@app.command()
def playground(data: DataDir = Path(".hone"), as_json: AsJson = False) -> None:
    """Open the playground again to visitors without a key, after its key was revoked."""
    from serving import auth

    with redis_of(data) as client:
        record = auth.reopen_playground(client)
        log_change(client, "keys.playground", id=record.id)
    typer.echo(json.dumps(asdict(record)) if as_json else f"visitors come on {record.id}")


def _show_secret(secret: str, record: ApiKey, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"key": secret, **asdict(record)}))
        return
    typer.echo(f"{secret}\n{record.id} ({', '.join(record.scopes)}). The key is not shown again.")
