"""/console/labeling: how far labelers agree, whom to trust, and who works oddly.

The figures are a worker's (feedback.quality.own), a few minutes old at most while people judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.quality import kept
from serving.console import charts
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.console.words import ago
from serving.gateway import Gateway

PAPER = 0.726  # agreement of InstructGPT's training labelers
_SOURCES = {"key": "API key", "end_user": "visitor", "labeler": "no record"}


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/labeling."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/labeling")
    async def labeling(request: Request) -> Response:
        operator = operators.require(request)
        report = await kept.read(gateway().journal.redis)
        shown = view(report, now=time.time()) if report is not None else None
        return show(request, operator, "labeling.html", section="Labeling", shown=shown)

    return router


def view(report: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """The report as the template shows it."""
    positions = {int(k): counts for k, counts in report["positions"].items()}
    drawn = {k: charts.positions(counts) for k, counts in positions.items()}
    return {
        "report": report,
        "age": ago(report["made"], now=now),
        "groups": [
            ("Labelers", report["training"]),
            ("Held-out labelers", report["heldout"]),
        ],
        "tasks": report["by_task"],
        "weeks": charts.weeks(report["by_week"]),
        "paper": charts.reference(PAPER),
        "chance": charts.reference(0.5),
        "positions": {k: chart for k, chart in drawn.items() if chart is not None},
        "people": [_person(person) for person in report["people"]],
    }


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    trust = person["trust"]
    status = "held out" if trust["is_heldout"] else trust["status"] or _SOURCES[trust["source"]]
    noted = [finding for finding in person["findings"] if finding["is_raised"]]
    return {**person, "status": status, "noted": noted, "weight": trust["weight"]}
