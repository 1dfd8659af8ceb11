"""/console/lineage: from a served answer to the judgements behind its weights, and from a judgement forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.errors import BadRequest, NotFound, Unavailable
from serving.console.screens import Screen, show
from serving.console.sessions import Operator, Operators
from serving.gateway import Gateway
from serving.lineage import text
from serving.lineage.graph import Key
from serving.lineage.trail import Trail, trace

_SHOWN = 60  # things of a chain; `hone lineage` has all of them
_BREAKS_SHOWN = 12
_MAX_CHARS = 256


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/lineage."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/lineage")
    async def show_lineage(request: Request) -> Response:
        operator = operators.require(request)
        asked = request.query_params.get("of", "").strip()[:_MAX_CHARS]
        is_forward = request.query_params.get("way") == "forward"
        found, missing = None, None
        if asked:
            try:
                found = await asyncio.to_thread(_trace, gateway(), operator, asked, is_forward)
            except (NotFound, BadRequest) as error:
                missing = error.message
            except OSError as error:
                raise Unavailable(f"a folder or the archive cannot be read: {error}") from error
        return show(
            request,
            operator,
            "lineage.html",
            section="Policies",
            asked=asked,
            is_forward=is_forward,
            trail=found,
            missing=missing,
        )

    return router


def _trace(gateway: Gateway, operator: Operator, asked: str, is_forward: bool) -> dict[str, Any]:
    trail = trace(
        gateway.redis,
        gateway.settings.data_dir,
        asked,
        direction="forward" if is_forward else "backward",
        tenant=operator.key.tenant,
        limit=_SHOWN,
        only_tenant=None if operator.may_change else operator.key.tenant,
    )
    rows = [_row(trail, key, step) for key, step in trail.steps.items()]
    return {
        "rows": rows,
        "num_left_out": trail.num_steps - len(rows),
        "breaks": [each.message for each in trail.breaks][:_BREAKS_SHOWN],
        "trained": sorted(trail.touched.trained) if trail.touched else None,
        "later": sorted(trail.touched.later) if trail.touched else None,
        "live": trail.live,
    }


def _row(trail: Trail, key: Key, step: int) -> dict[str, Any]:
    node = trail.nodes[key]
    return {
        "kind": key.kind,
        "id": key.id,
        "step": step,
        "about": text.about(node),
        "is_broken": bool(node.breaks),
    }
