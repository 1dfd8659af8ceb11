"""/console/settings: settings as this gateway was started with, keys and who has them; secrets masked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving import auth
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import configuration

_KEYS_SHOWN = 200


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/settings."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/settings")
    async def show_settings(request: Request) -> Response:
        operator = operators.require(request)
        records = await asyncio.to_thread(auth.list_keys, gateway().redis)
        return show(
            request,
            operator,
            "settings.html",
            section="Settings",
            sections=configuration.read(gateway())["data"],
            keys=records[-_KEYS_SHOWN:],
            num_keys=len(records),
        )

    return router
