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
from serving.oversight import gates, rounds
from serving.oversight.round_files import RoundFiles

_ROUNDS = 20
_CANARIES = 40
PAPER = 0.724  # InstructGPT's reward model on labelers it never saw: 72.4 ± 0.4 %
_CHANCE = 0.5
_GROUPS = {
    "labelers_in_train": "Labelers it learned from",
    "labelers_not_in_train": "Labelers it never saw",
    "heldout_labelers": "Labelers who are held out",
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
        "proxy": _proxy(gateway, files),
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


def _proxy(gateway: Gateway, files: RoundFiles) -> plots.Plot | None:
    """Of each version that was a canary: what the gate's reward model promised, and what people said in blind
    pairs. Where people's interval ends below the promise, the score had misled."""
    marks = []
    for ended in gateway.canaries.history()[:_CANARIES]:
        record = gateway.refresher.live.policies.get(ended.canary.version)
        verdict = gates.verdict(files, record.round_id) if record and record.round_id else None
        promised = (verdict or {}).get("win_rate")
        pairs = (ended.figures or {}).get("pairs", {})
        if promised and promised["value"] is not None and pairs.get("win_rate") is not None:
            marks.append(
                plots.Measured(
                    x=promised["value"],
                    value=pairs["win_rate"],
                    low=pairs["low"],
                    high=pairs["high"],
                    label=ended.canary.version,
                    is_odd=pairs["high"] < promised["value"],
                )
            )
    return plots.judged_twice(marks, x_name="by the reward model", y_name="by people")
