"""/console/policies/{version}: the gate's verdict, the round's curves, answers beside its parent's, and a card."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console import curves, plots
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import policies
from serving.oversight.round_files import RoundFiles
from serving.registry import PRODUCTION

_SAMPLES = 20
_SAMPLE_CHARS = 4_000  # of a text: longer ones are cut on this page


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/policies/{version}."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/policies/{version}")
    async def show_policy(version: str, request: Request) -> Response:
        operator = operators.require(request)
        found = await asyncio.to_thread(
            _one, gateway(), version, with_texts=operator.may_read_texts
        )
        return show(request, operator, "policy.html", section="Policies", **found)

    return router


def _one(gateway: Gateway, version: str, *, with_texts: bool) -> dict[str, Any]:
    live, files = gateway.refresher.live, RoundFiles(gateway.settings.data_dir)
    row = policies.one(live, files, version, with_texts=with_texts)
    record = policies.find(live, version)
    report = row["gate_report"]
    drawn = curves.chosen(files.curves(record.round_id)) if record.round_id else None
    return {
        "row": row,
        "checks": checks(report) if report else [],
        "report": report,
        "samples": samples(report) if report else [],
        "with_texts": with_texts,
        "curves": drawn,
        "card": policies.card(gateway, record),
        "production": live.aliases.get(PRODUCTION),
        "ancestry": policies.ancestry(live, record.version)[1:],
    }


def checks(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the gate's table; those with an interval have it as a drawing as well."""
    named = {"note": "", "evidence": ""}  # a report of an older hone has neither
    return [{**named, **check, "bar": _bar(check)} for check in report.get("checks", ())]


def samples(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answers side by side."""
    found = [
        {
            **sample,
            "prompt": _cut(sample.get("prompt")),
            "candidate": _cut(sample.get("candidate")),
            "incumbent": _cut(sample.get("incumbent")),
            "difference": (sample.get("candidate_score") or 0.0)
            - (sample.get("incumbent_score") or 0.0),
        }
        for sample in report.get("samples", ())
    ]
    return found[:_SAMPLES]


def _bar(check: Mapping[str, Any]) -> plots.Bar | None:
    """Shares are drawn from 0 to 1; other figures around the interval and the limit, if it is near."""
    interval, value, limit = check.get("interval"), check.get("value"), check.get("limit")
    if not interval or value is None or None in interval:
        return None
    low, high = interval
    if 0 <= low and high <= 1 and limit is not None and 0 <= limit <= 1:
        ends = (0.0, 1.0)
    else:
        width = max(high - low, abs(value) * 0.1, 1e-9)
        near = limit is not None and abs(limit - value) < 8 * width
        known = (low, high, limit) if near else (low, high)
        ends = (min(known) - 0.15 * width, max(known) + 0.15 * width)
    return plots.bar(value, low=low, high=high, limit=limit, ends=ends)


def _cut(text: Any) -> str:
    plain = str(text or "")
    return plain if len(plain) <= _SAMPLE_CHARS else plain[:_SAMPLE_CHARS] + " …"
