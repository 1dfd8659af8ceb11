"""/console/rewards: how well reward models judge people they never saw, and where a high score misleads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console import plots
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import rounds
from serving.oversight.round_files import RoundFiles

_ROUNDS = 20
PAPER = 0.724  # InstructGPT's reward model on labelers it never saw: 72.4 ± 0.4 %
_CHANCE = 0.5
_GROUPS = {
    "labelers_in_train": "Labelers it learned from",
    "labelers_not_in_train": "Labelers it never saw",
}


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/rewards."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/rewards")
    async def show_rewards(request: Request) -> Response:
        operator = operators.require(request)
        asked = request.query_params.get("round", "")
        found = await asyncio.to_thread(_rewards, gateway(), asked)
        return show(request, operator, "rewards.html", section="Reward models", **found)

    return router


def _rewards(gateway: Gateway, asked: str) -> dict[str, Any]:
    files = RoundFiles(gateway.settings.data_dir)
    newest = rounds.newest(gateway.redis, limit=_ROUNDS)["data"]
    reports = {
        state["round_id"]: report
        for state in newest
        if (report := files.report(state["round_id"], "reward")) is not None
    }
    chosen = asked if asked in reports else next(iter(reports), None)
    report = reports[chosen] if chosen is not None else None
    return {
        "chosen": chosen,
        "round_ids": list(reports),
        "over_rounds": _over_rounds(reports),
        "report": report,
        "groups": [
            (_GROUPS.get(name, name), row) for name, row in _rows(report, "accuracy_by_group")
        ],
        "by_labeler": _rows(report, "accuracy_by_labeler"),
        "by_k": _rows(report, "accuracy_by_k"),
        "reliability": _reliability(report) if report else None,
        "proxy": _proxy(files, reports),
        "paper": PAPER,
    }


def _over_rounds(reports: Mapping[str, Mapping[str, Any]]) -> plots.Plot | None:
    marks = [
        plots.Measured(
            x=float(rounds.number(round_id)),
            label=str(rounds.number(round_id)),
            **{name: found[name] for name in ("value", "low", "high")},
        )
        for round_id, report in reversed(list(reports.items()))
        if (found := report.get("accuracy")) and None not in found.values()
    ]
    return plots.measured(
        marks,
        name="Held-out accuracy",
        x_name="round",
        reference=_CHANCE,
        reference_name="chance",
    )


def _rows(report: Mapping[str, Any] | None, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Of each labeler, group or K: the estimate, and its drawing from 0 to 1."""
    found = (report or {}).get(name) or {}
    return [
        (
            who,
            {
                **estimate,
                "bar": plots.bar(
                    estimate["value"],
                    low=estimate["low"],
                    high=estimate["high"],
                    limit=_CHANCE,
                    ends=(0.0, 1.0),
                ),
            },
        )
        for who, estimate in found.items()
        if estimate and None not in estimate.values()
    ]


def _reliability(report: Mapping[str, Any]) -> plots.Plot | None:
    bins = (report.get("calibration") or {}).get("bins") or []
    kept = [found for found in bins if found["num_comparisons"]]
    return plots.diagonal(
        [(found["confidence"], found["share_right"]) for found in kept],
        sizes=[found["num_comparisons"] for found in kept],
        x_name="confidence",
        y_name="share right",
        low=0.5,
    )


def _proxy(files: RoundFiles, reports: Mapping[str, Any]) -> plots.Plot | None:
    """Win rate by the round's own reward model against its reward on people it never saw, by round."""
    points = []
    for round_id in reports:
        evidence = (files.report(round_id, "gate") or {}).get("evidence", {})
        proxy, gold = evidence.get("win_rate"), evidence.get("gold_win_rate")
        if proxy and gold and None not in (proxy["value"], gold["value"]):
            points.append((proxy["value"], gold["value"]))
    if not points:
        return None
    return plots.diagonal(points, sizes=[0] * len(points), x_name="proxy", y_name="gold", low=0.0)
