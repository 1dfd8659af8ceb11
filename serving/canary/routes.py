"""The routes of a canary: begin or grow it, look, hold, abort. It is promoted as any version is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from feedback.json_numbers import JSON_NUMBER
from serving.auth import VIEWERS
from serving.canary import shown, steering
from serving.canary.watch import judge, so_far
from serving.gateway import Gateway
from serving.reasons import MustSay, Reason, Why

_HISTORY = 50

DigestPrefix = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]


class NewCanary(BaseModel):
    """A version, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, lt=1), JSON_NUMBER] = 0.1
    reason: Reason = ""
    digest: DigestPrefix | None = None
    override: MustSay | None = None


class Abort(Why):
    """Which one; default: the one that runs."""

    version: Annotated[str | None, Field(min_length=1, max_length=128)] = None


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """For a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/admin", tags=["Operator"])

    @router.get("/canary")
    async def get_canary(request: Request) -> dict[str, Any]:
        """The canary that runs, what was counted, what the tests say; and those before it."""
        await gateway().identify(request, *VIEWERS)
        return await asyncio.to_thread(overview, gateway())

    @router.post("/policies/{version}/canary")
    async def begin_canary(version: str, wanted: NewCanary, request: Request) -> dict[str, Any]:
        """Have a version answer a share of the end users. Of the running canary the share grows."""
        key = await gateway().identify(request, "admin")
        begun = await steering.begin(gateway(), version, actor=key.id, **wanted.model_dump())
        return shown.canary(begun)

    @router.post("/canary/hold")
    async def hold_canary(wanted: Why, request: Request) -> dict[str, Any]:
        """Let it go on until an operator decides; harm still ends it. Begun again it is judged again."""
        key = await gateway().identify(request, "admin")
        held = await steering.hold(gateway(), actor=key.id, reason=wanted.reason)
        return shown.canary(held)

    @router.post("/canary/abort")
    async def abort_canary(wanted: Abort, request: Request) -> dict[str, Any]:
        """Production answers everybody again."""
        key = await gateway().identify(request, "admin")
        ended = await steering.abort(gateway(), actor=key.id, **wanted.model_dump())
        return shown.ended(ended)

    return router


def overview(gateway: Gateway) -> dict[str, Any]:
    """The canary that runs, what was counted, what the tests say; and those before it."""
    running = gateway.canaries.running()
    history = gateway.canaries.history()[:_HISTORY]
    if running is None:
        return shown.overview(None, counted=None, verdict=None, history=history)
    counted = so_far(gateway.canaries, running)
    verdict = judge(running, counted)
    return shown.overview(running, counted=counted, verdict=verdict, history=history)
