"""Versions of moderation's classifier as JSON under /admin/moderation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request

from serving.auth import VIEWERS
from serving.gateway import Gateway
from serving.oversight import moderation
from serving.reasons import RollBack, Why


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /admin/moderation and /admin/moderation/…, for a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/admin/moderation", tags=["Operator"])

    @router.get("")
    async def list_moderation_versions(request: Request) -> dict[str, Any]:
        """All versions, newest first, which one is wanted, and which model the server says that it serves."""
        await gateway().identify(request, *VIEWERS)
        return await moderation.newest(gateway())

    @router.get("/{version}")
    async def show_moderation_version(version: str, request: Request) -> dict[str, Any]:
        """One version with its gate's report."""
        await gateway().identify(request, *VIEWERS)
        return await asyncio.to_thread(moderation.one, gateway(), version)

    @router.post("/{version}/promote")
    async def promote_moderation(
        version: str, request: Request, wanted: Why | None = None
    ) -> dict[str, Any]:
        """Have every moderation server serve a version."""
        key = await gateway().identify(request, "admin")
        why = wanted or Why()
        return moderation.show(
            await moderation.promote(gateway(), version, actor=key.id, reason=why.reason)
        )

    @router.post("/rollback")
    async def roll_back_moderation(
        request: Request, wanted: RollBack | None = None
    ) -> dict[str, Any]:
        """Have them serve the previous one again."""
        key = await gateway().identify(request, "admin")
        why = wanted or RollBack()
        record = await moderation.roll_back(
            gateway(), actor=key.id, reason=why.reason, production=why.production
        )
        return moderation.show(record)

    return router
