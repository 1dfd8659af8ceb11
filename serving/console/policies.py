"""/console/policies: the versions, and which came from which."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console import lineage_graph
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import policies
from serving.oversight.round_files import RoundFiles
from serving.registry import PRODUCTION

_VERSION = re.compile(r"policy-\d{4,9}")
_DRAWN = 18  # versions in the graph


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/policies."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/policies")
    async def list_policies(request: Request) -> Response:
        operator = operators.require(request)
        asked = request.query_params.get("before", "")
        before = asked if _VERSION.fullmatch(asked) else None
        found = await asyncio.to_thread(_list, gateway(), before)
        return show(
            request,
            operator,
            "policies.html",
            section="Policies",
            every_s=None if before else 5,
            before=before,
            **found,
        )

    return router


def _list(gateway: Gateway, before: str | None) -> dict[str, Any]:
    live = gateway.refresher.live
    found = policies.newest(live, RoundFiles(gateway.settings.data_dir), before=before)
    production = live.aliases.get(PRODUCTION)
    line = policies.ancestry(live, production) if production else []
    return {
        "rows": found["data"],
        "has_more": found["has_more"],
        "num_versions": found["num_versions"],
        "graph": lineage_graph.graph(
            found["data"][:_DRAWN][::-1], production=production, line=line
        ),
        "said": f"{production} serves" if production else "nothing serves",
    }
