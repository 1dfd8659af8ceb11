"""The routes of an operator: what serves, promote and roll back, keys, rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from feedback import keys
from feedback.json_numbers import JSON_NUMBER
from moderation.categories import CATEGORIES
from moderation.policy import ALL, Action, Stage
from serving import auth
from serving.gateway import Gateway
from serving.promotion import promote, roll_back
from serving.registry import PRODUCTION, PolicyRecord
from serving.routing import ALIASES

_ROUNDS_SHOWN = 50


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[tuple[Literal["infer", "label", "admin"], ...], Field(min_length=1)] = (
        "infer",
    )
    tenant: Annotated[str, Field(min_length=1, max_length=128)] = "default"
    requests_per_minute: Annotated[int | None, Field(ge=1, le=10**9), JSON_NUMBER] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1, le=10**12), JSON_NUMBER] = None
    max_concurrent: Annotated[int | None, Field(ge=1, le=10**6), JSON_NUMBER] = None
    store: StrictBool = True


class Rotation(BaseModel):
    """How a key's secret is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: Annotated[float, Field(ge=0, le=30 * 86_400), JSON_NUMBER] = 3600.0


_Actions = Annotated[
    dict[str, Action], Field(json_schema_extra={"propertyNames": {"enum": [ALL, *CATEGORIES]}})
]


class KeyModeration(BaseModel):
    """What happens to a key's flagged texts: category, or `all`, to `allow`, `flag` or `block`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: _Actions = {}
    completion: _Actions = {}


class NewRound(BaseModel):
    """A round to start as soon as none is under way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["policy", "moderation"] = "policy"
    recipe: Annotated[str | None, Field(pattern=r"^[a-z0-9_-]{1,64}$")] = None
    reason: Annotated[str, Field(max_length=512)] = ""


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /policy and /admin/…, for a gateway that exists by the time they are called."""
    router = APIRouter(tags=["Operator"])
    router.include_router(_policies(gateway))
    router.include_router(_keys(gateway))
    router.include_router(_rounds(gateway))
    return router


def _policies(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter()

    @router.get("/policy")
    async def policy(request: Request) -> dict[str, Any]:
        """What serves at this moment, and what each engine has loaded."""
        await gateway().identify(request, "infer")
        return _show_live(gateway())

    @router.post("/admin/policies/{version}/promote")
    async def promote_version(version: str, request: Request) -> dict[str, Any]:
        """Load a version on every engine, verify it there, and make it production."""
        key = await gateway().identify(request, "admin")
        return _show(await promote(gateway(), version, actor=key.id))

    @router.post("/admin/rollback")
    async def roll_back_version(request: Request) -> dict[str, Any]:
        """Make the previous version production again."""
        key = await gateway().identify(request, "admin")
        return _show(await roll_back(gateway(), actor=key.id))

    return router


def _keys(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/admin/keys")

    @router.get("")
    async def list_keys(request: Request) -> dict[str, Any]:
        """All keys, without the secrets."""
        await gateway().identify(request, "admin")
        records = await asyncio.to_thread(auth.list_keys, gateway().redis)
        return {"object": "list", "data": [asdict(record) for record in records]}

    @router.post("", status_code=201)
    async def create_key(wanted: NewKey, request: Request) -> dict[str, Any]:
        """Make a key. The answer is the only time that it is shown."""
        key = await gateway().identify(request, "admin")
        secret, record = await asyncio.to_thread(
            lambda: auth.create_key(gateway().redis, **wanted.model_dump())
        )
        await gateway().refresher.refresh()
        await gateway().audit(key.id, "keys.create", **asdict(record))
        return {"key": secret, **asdict(record)}

    @router.post("/{key_id}/rotate")
    async def rotate_key(key_id: str, wanted: Rotation, request: Request) -> dict[str, Any]:
        """A new secret for a key; the old one works until its grace is over."""
        key = await gateway().identify(request, "admin")
        secret, record = await asyncio.to_thread(
            auth.rotate_key, gateway().redis, key_id, grace_s=wanted.grace_s
        )
        await gateway().refresher.refresh()
        await gateway().audit(key.id, "keys.rotate", id=key_id, grace_s=wanted.grace_s)
        return {"key": secret, **asdict(record)}

    @router.put("/{key_id}/moderation")
    async def set_moderation(
        key_id: str, wanted: KeyModeration, request: Request
    ) -> dict[str, Any]:
        """Say what happens to a key's flagged texts; what is not named is blocked."""
        key = await gateway().identify(request, "admin")
        actions = wanted.model_dump()
        record = await asyncio.to_thread(
            auth.set_moderation, gateway().redis, key_id, cast("dict[Stage, Any]", actions)
        )
        await gateway().refresher.refresh()
        await gateway().audit(key.id, "keys.moderation", id=key_id, **actions)
        return asdict(record)

    @router.delete("/{key_id}")
    async def revoke_key(key_id: str, request: Request) -> dict[str, Any]:
        """Forget a key; requests with it are refused from now on."""
        key = await gateway().identify(request, "admin")
        record = await asyncio.to_thread(auth.revoke_key, gateway().redis, key_id)
        await gateway().refresher.refresh()
        await gateway().audit(key.id, "keys.revoke", **asdict(record))
        return {"id": record.id, "deleted": True}

    return router


def _rounds(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/admin/rounds")

    @router.get("")
    async def list_rounds(request: Request) -> dict[str, Any]:
        """The newest rounds, as the control worker last wrote them."""
        await gateway().identify(request, "admin")
        return await asyncio.to_thread(_read_rounds, gateway())

    @router.post("", status_code=202)
    async def request_round(wanted: NewRound, request: Request) -> dict[str, Any]:
        """Ask for a round now; the control worker takes it up when none is under way."""
        key = await gateway().identify(request, "admin")
        asked = {**wanted.model_dump(exclude_none=True), "by": key.id, "requested": time.time()}
        await asyncio.to_thread(gateway().redis.set, keys.ROUND_REQUESTED, orjson.dumps(asked))
        await gateway().audit(key.id, "rounds.request", **asked)
        return {"object": "round_request", **asked}

    return router


def _show_live(gateway: Gateway) -> dict[str, Any]:
    live = gateway.refresher.live
    shown: dict[str, Any] = {}
    for alias in ALIASES:
        record = live.policies.get(live.aliases.get(alias, ""))
        shown[alias] = _show(record) if record is not None else None
    if shown[PRODUCTION] is not None:
        shown[PRODUCTION]["since"] = gateway.refresher.production_since
    rollout = asdict(live.rollout) if live.rollout is not None else None
    return {
        **shown,
        "rollout": rollout,
        "engines": [member.show() for member in gateway.fleet.members],
    }


def _show(record: PolicyRecord) -> dict[str, Any]:
    fields = asdict(record)
    del fields["path"]  # where weights lie is nobody's business
    return fields


def _read_rounds(gateway: Gateway) -> dict[str, Any]:
    client = gateway.redis
    newest = int(cast("bytes | None", client.get(keys.ROUND_SEQ)) or 0)
    numbers = range(newest, max(0, newest - _ROUNDS_SHOWN), -1)
    names = [f"round-{number:04d}" for number in numbers]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(keys.round_state(name))
    pipe.get(keys.ROUND_ACTIVE)
    pipe.get(keys.ROUND_REQUESTED)
    *states, active, requested = pipe.execute()
    rounds = [
        {"round_id": name, **{k.decode(): v.decode() for k, v in state.items()}}
        for name, state in zip(names, states, strict=True)
        if state
    ]
    return {
        "object": "list",
        "data": rounds,
        "active": active.decode() if active else None,
        "requested": orjson.loads(requested) if requested else None,
    }
