"""/console/engines: what each engine has loaded, how fast it came, how busy it is."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import engines

_EVERY_S = 3


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/engines."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/engines")
    async def list_engines(request: Request) -> Response:
        operator = operators.require(request)
        rows = engines.read(gateway())["data"]
        reachable = sum(row["reachable"] for row in rows)
        return show(
            request,
            operator,
            "engines.html",
            section="Engines",
            every_s=_EVERY_S,
            rows=rows,
            said=f"{reachable} of {len(rows)} engines answer",
        )

    return router
