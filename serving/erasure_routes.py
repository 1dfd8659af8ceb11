"""The routes that erase an end user: asked for here, carried out by a worker, looked at here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from feedback.erasure import requests
from feedback.erasure.requests import Erasure
from serving.gateway import Gateway

_Name = {"min_length": 1, "max_length": 128}


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """For a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/admin", tags=["Operator"])

    @router.delete("/users/{user_id}", status_code=202)
    async def erase_user(
        user_id: Annotated[str, Path(description="`user` of their requests.", **_Name)],
        request: Request,
        tenant: Annotated[str, Query(description="Whose end user.", **_Name)] = "default",
    ) -> dict[str, Any]:
        """Remove all that an end user said, for good. From the answer on nothing that they did before is
        taken into the log; a worker removes what is there, within minutes."""
        key = await gateway().identify(request, "admin")
        asked = await asyncio.to_thread(
            lambda: requests.ask(gateway().redis, tenant=tenant, user=user_id, by=key.id)
        )
        await gateway().audit(key.id, "erase.ask", erasure=asked.id, person=asked.person)
        return _show(asked)

    @router.delete("/tenants/{tenant}", status_code=202)
    async def erase_tenant(
        tenant: Annotated[str, Path(description="As its keys have it.", **_Name)], request: Request
    ) -> dict[str, Any]:
        """Remove all that was asked, answered and said with the keys of a tenant, for good. The keys
        stay; revoke them first."""
        key = await gateway().identify(request, "admin")
        asked = await asyncio.to_thread(
            lambda: requests.ask(gateway().redis, tenant=tenant, user=None, by=key.id)
        )
        await gateway().audit(key.id, "erase.ask", erasure=asked.id, person=asked.person)
        return _show(asked)

    @router.get("/erasures/{erasure_id}")
    async def get_erasure(erasure_id: str, request: Request) -> dict[str, Any]:
        """What came of it: counts, what became of Redis' files, and which snapshots and versions were made
        with what is erased."""
        await gateway().identify(request, "admin")
        found = await asyncio.to_thread(requests.get, gateway().redis, erasure_id)
        return _show(found)

    return router


def _show(erasure: Erasure) -> dict[str, Any]:
    shown = asdict(erasure)
    del shown["user"]  # whoever asks knows; it stands in no log of answers
    return {"object": "erasure", **shown}
