"""/console/audit: who changed what, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import audit

_ENTRY = re.compile(r"[1-9][0-9]{0,14}-[0-9]{1,15}")
_LEFT_OUT = ("reason", "requested")  # shown in a column of their own, or said by the time


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/audit."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/audit")
    async def show_audit(request: Request) -> Response:
        operator = operators.require(request)
        asked = request.query_params.get("before", "")
        before = asked if _ENTRY.fullmatch(asked) else None
        found = await audit.page(gateway(), before=before)
        return show(
            request,
            operator,
            "audit.html",
            section="Audit",
            every_s=None if before else 5,
            before=before,
            rows=[_row(gateway(), entry) for entry in found["data"]],
            oldest=found["data"][-1]["entry"] if found["has_more"] else None,
        )

    return router


def _row(gateway: Gateway, entry: Mapping[str, Any]) -> dict[str, Any]:
    key = gateway.authenticator.by_id(entry["actor"])
    detail = entry["detail"]
    told = [(name, _said(value)) for name, value in detail.items() if name not in _LEFT_OUT]
    return {
        "created": entry["created"],
        "actor": key.name if key is not None else entry["actor"],
        "actor_id": entry["actor"] if key is not None else "",
        "action": entry["action"],
        "reason": detail.get("reason", ""),
        "told": [(name, value) for name, value in told if value],
    }


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return "" if value is None else str(value)
