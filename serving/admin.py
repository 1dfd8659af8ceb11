"""The routes of an operator that change what serves and who may call. Others: serving.oversight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from feedback.json_numbers import JSON_NUMBER
from moderation.categories import CATEGORIES
from moderation.policy import ALL, Action, Stage
from serving import auth
from serving.canary.routes import DigestPrefix
from serving.gateway import Gateway
from serving.promotion import promote, roll_back
from serving.reasons import MustSay, RollBack, Why
from serving.registry import PRODUCTION, PolicyRecord
from serving.routing import ALIASES


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[
        tuple[Literal["infer", "label", "view", "view_texts", "admin"], ...], Field(min_length=1)
    ] = ("infer",)
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


class Promotion(Why):
    """Why a version goes live."""

    override: MustSay | None = None  # no gate passed
    digest: DigestPrefix | None = None


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /policy and /admin/…, for a gateway that exists by the time they are called."""
    router = APIRouter(tags=["Operator"])
    router.include_router(_policies(gateway))
    router.include_router(_keys(gateway))
    return router


def _policies(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter()

    @router.get("/policy")
    async def policy(request: Request) -> dict[str, Any]:
        """What serves at this moment, and what each engine has loaded."""
        await gateway().identify(request, "infer", *auth.VIEWERS)
        return _show_live(gateway())

    @router.post("/admin/policies/{version}/promote")
    async def promote_version(
        version: str, request: Request, wanted: Promotion | None = None
    ) -> dict[str, Any]:
        """Load a version on every engine, verify it there, and make it production. A canary ends."""
        key = await gateway().identify(request, "admin")
        why = (wanted or Promotion()).model_dump()
        return _show(await promote(gateway(), version, actor=key.id, **why))

    @router.post("/admin/rollback")
    async def roll_back_version(request: Request, wanted: RollBack | None = None) -> dict[str, Any]:
        """Abort the canary; where there is none, make the previous version production again. With
        `production` it is production, and only while that one is live. Answers what is production then."""
        key = await gateway().identify(request, "admin")
        why = (wanted or RollBack()).model_dump()
        return _show(await roll_back(gateway(), actor=key.id, **why))

    return router


def _keys(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/admin/keys")

    @router.get("")
    async def list_keys(request: Request) -> dict[str, Any]:
        """All keys, without the secrets."""
        await gateway().identify(request, *auth.VIEWERS)
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


def _show_live(gateway: Gateway) -> dict[str, Any]:
    live = gateway.refresher.live
    shown: dict[str, Any] = {}
    for alias in ALIASES:
        record = live.policies.get(live.aliases.get(alias, ""))
        shown[alias] = _show(record) if record is not None else None
    if shown[PRODUCTION] is not None:
        since = live.production_since or gateway.refresher.production_since
        shown[PRODUCTION]["since"] = since
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
