"""/console/runs: rounds under way and over; one of them with its steps, curves and logs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console import curves, policy
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import gates, learning, rounds
from serving.oversight.round_files import STEPS_OF, RoundFiles
from serving.round_states import OVERRIDE, RETRY, UNDER_WAY

_EVERY_S = 3


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Routes /console/runs and /console/runs/{round_id}."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/runs")
    async def list_runs(request: Request) -> Response:
        operator = operators.require(request)
        before = request.query_params.get("before", "")
        found = await asyncio.to_thread(
            _list, gateway(), int(before) if before.isascii() and before.isdigit() else None
        )
        return show(
            request, operator, "runs.html", section="Runs", every_s=_EVERY_S, before=before, **found
        )

    @router.get("/console/runs/{round_id}")
    async def show_run(round_id: str, request: Request) -> Response:
        operator = operators.require(request)
        step = request.query_params.get("log", "")
        found = await asyncio.to_thread(
            _one, gateway(), round_id, step, with_texts=operator.may_read_texts
        )
        every_s = _EVERY_S if found["is_under_way"] else None
        return show(request, operator, "run.html", section="Runs", every_s=every_s, **found)

    return router


def _list(gateway: Gateway, before: int | None) -> dict[str, Any]:
    files = RoundFiles(gateway.settings.data_dir)
    found = rounds.newest(gateway.redis, before=before)
    rows = [_row(files, state) for state in found["data"]]
    return {
        "rows": rows,
        "has_more": found["has_more"],
        "oldest": rounds.number(rows[-1]["state"]["round_id"]) if rows else None,
        "learning": learning.read(gateway.redis),
        "said": "; ".join(
            f"{row['state']['round_id']}: {row['state'].get('step')}"
            for row in rows
            if row["is_under_way"]
        ),
    }


def _row(files: RoundFiles, state: Mapping[str, Any]) -> dict[str, Any]:
    detail: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        detail = {**orjson.loads(state.get("detail") or "{}")}
    started, ended = _seconds(state.get("started")), _seconds(state.get("ended"))
    return {
        "state": state,
        "started": started,
        "took_s": ended - started if started and ended else None,
        "is_under_way": state.get("status") in UNDER_WAY,
        "may_retry": state.get("status") in RETRY.before,
        "may_override": state.get("status") in OVERRIDE.before,
        "expected_end": _seconds(state.get("expected_end")),
        "heartbeat": _seconds(state.get("heartbeat")),
        "spent_s": _seconds(state.get("spent_s")),
        "share": rounds.share_done(dict(state)),
        "kind": rounds.kind(state),
        "became": detail.get("version"),
        "gate": gates.verdict(files, state["round_id"]),
        "error": detail.get("error") or state.get("error"),
    }


def _one(gateway: Gateway, round_id: str, log_of: str, *, with_texts: bool) -> dict[str, Any]:
    files = RoundFiles(gateway.settings.data_dir)
    state = rounds.read(gateway.redis, round_id)
    row = _row(files, state)
    names = STEPS_OF[rounds.kind(state)]
    steps = [_step(files, state, step) for step in names]
    chosen = log_of if log_of in names else str(state.get("step", names[0]))
    return {
        **row,
        "round_id": round_id,
        "steps": steps,
        "progress": rounds.progress(state),
        "plan": files.plan(round_id) or {},
        "checks": policy.checks(files.report(round_id, "gate") or {}),
        "curves": curves.chosen(files.curves(round_id)),
        "log_of": chosen,
        # A step's log may quote what people wrote.
        "log": files.log(round_id, chosen) if with_texts else None,
        "said": f"{state.get('status')}, {state.get('step')}",
    }


def _step(files: RoundFiles, state: Mapping[str, Any], step: str) -> dict[str, Any]:
    ended = files.ended(state["round_id"], step)
    is_at = state.get("step") == step
    if ended is not None:
        status = "done"
    elif is_at:
        status = str(state.get("status"))
    else:
        status = "to come" if state.get("status") in UNDER_WAY else "not reached"
    return {
        "name": step,
        "status": status,
        "ended": ended,
        "attempts": int(state.get(f"attempts:{step}", 0)),
        "share": rounds.share_done(dict(state)) if is_at and ended is None else None,
    }


def _seconds(value: str | None) -> float | None:
    return float(value) if value else None
