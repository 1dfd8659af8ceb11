"""/console/moderation: versions of moderation's classifier, which serves, and what the gate said of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from moderation.versions import ON_BOARD
from serving.console import policy
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import moderation

_EVERY_S = 3


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Routes /console/moderation and /console/moderation/{version}."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/moderation")
    async def list_versions(request: Request) -> Response:
        operator = operators.require(request)
        found = await moderation.newest(gateway())
        return show(
            request,
            operator,
            "moderation.html",
            section="Moderation",
            every_s=_EVERY_S,
            state=found,
            catches_up=_catches_up(found),
            said=f"{found['production']} judges",
        )

    @router.get("/console/moderation/{version}")
    async def show_version(version: str, request: Request) -> Response:
        operator = operators.require(request)
        row = await asyncio.to_thread(moderation.one, gateway(), version)
        report = row["gate_report"]
        return show(
            request,
            operator,
            "classifier.html",
            section="Moderation",
            row=row,
            report=report,
            checks=policy.checks(report) if report else [],
            areas=areas(report) if report else [],
        )

    return router


def areas(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for every category that could be measured: this version beside what served."""
    found = report.get("areas") or {}
    before = found.get("incumbent", {})
    return [
        {
            "category": name,
            "value": area["auprc"],
            "interval": area.get("auprc_95"),
            "before": before[name]["auprc"],
            "change": area["auprc"] - before[name]["auprc"],
        }
        for name, area in found.get("candidate", {}).items()
        if name in before
    ]


def _catches_up(found: Mapping[str, Any]) -> bool:
    """Whether the server still names another version; what is on board goes by the name of its heads."""
    is_known = found["serving"] is not None and found["production"] != ON_BOARD
    return is_known and found["serving"] != found["production"]
