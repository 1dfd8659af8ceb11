"""Is the process alive, can it answer, and what do its metrics say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from serving.gateway import Gateway
from serving.registry import PRODUCTION


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /healthz, /readyz and /metrics; they ask for no key."""
    router = APIRouter(tags=["Health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> Response:
        """200 when a request for `policy` would be answered; else 503 with the reasons."""
        reasons, notes = await judge(gateway())
        status = "unready" if reasons else ("degraded" if notes else "ready")
        body: dict[str, Any] = {"status": status, "reasons": reasons + notes}
        return JSONResponse(body, status_code=503 if reasons else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(gateway().metrics.render(), media_type="text/plain; version=0.0.4")

    return router


async def judge(gateway: Gateway) -> tuple[list[str], list[str]]:
    """What keeps the gateway from answering, and what only makes it poorer."""
    reasons: list[str] = []
    notes: list[str] = []
    refresher = gateway.refresher
    production = refresher.live.resolve(PRODUCTION)
    if refresher.base_conflict is not None:
        reasons.append(refresher.base_conflict)
    if production is None:
        reasons.append("no version is in production yet")
    elif not gateway.fleet.has(production.version):
        reasons.append(f"no engine has {production.version} loaded")
    if not await gateway.moderation.is_ready():
        missing = "the moderation server does not answer"
        (reasons if gateway.settings.moderation_required else notes).append(missing)
    if not refresher.has_redis:
        notes.append("redis is away: answers and feedback wait in the outbox")
    if trouble := gateway.journal.trouble:
        notes.append(f"the outbox takes nothing ({trouble}): what is to be stored is answered 503")
    if waiting := gateway.journal.depth():
        notes.append(f"{waiting} events wait in the outbox")
    return reasons, notes
