"""The operator's routes to versions of moderation's classifier: which there are, promote, roll back.

Servers of moderation follow the registry within a second; no request waits, and each is judged by one version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from moderation.versions import ModerationRecord, Versions
from serving.gateway import Gateway


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /admin/moderation/…, for a gateway that exists by the time they are called."""
    router = APIRouter(tags=["Operator"], prefix="/admin/moderation")

    @router.get("")
    async def list_versions(request: Request) -> dict[str, Any]:
        """All versions, which one is wanted, and which model the server says that it serves."""
        await gateway().identify(request, "admin")
        live = await asyncio.to_thread(Versions(gateway().redis).live)
        about = await gateway().moderation.about(max_age_s=1.0)
        return {
            "object": "list",
            "data": [show(record) for record in live.versions.values()],
            "production": live.production,
            "previous": live.previous,
            "serving": about["model"] if about else None,
        }

    @router.post("/{version}/promote")
    async def promote(version: str, request: Request) -> dict[str, Any]:
        """Have every moderation server serve a version."""
        key = await gateway().identify(request, "admin")
        record = await asyncio.to_thread(Versions(gateway().redis).promote, version)
        await gateway().audit(key.id, "moderation.promote", version=record.version)
        return show(record)

    @router.post("/rollback")
    async def roll_back(request: Request) -> dict[str, Any]:
        """Have them serve the previous one again."""
        key = await gateway().identify(request, "admin")
        record = await asyncio.to_thread(Versions(gateway().redis).roll_back)
        await gateway().audit(key.id, "moderation.rollback", version=record.version)
        return show(record)

    return router


def show(record: ModerationRecord) -> dict[str, Any]:
    """What is told of a version: not where it lies."""
    fields = asdict(record)
    del fields["path"]
    return fields
