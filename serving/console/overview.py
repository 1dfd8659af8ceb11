"""/console: what serves, what learns, what waits; roll back and pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.console import hours
from serving.console.screens import Screen, show
from serving.console.sessions import Operators, login_page
from serving.gateway import Gateway
from serving.oversight import overview, rounds
from serving.round_states import UNDER_WAY

_EVERY_S = 3


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console; who is not logged in is asked for a key there."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console")
    async def entry(request: Request) -> Response:
        operator = operators.find(request)
        if operator is None:
            return login_page(next_path=request.query_params.get("next", ""))
        found = await overview.read(gateway())
        return show(
            request,
            operator,
            "overview.html",
            section="Overview",
            every_s=_EVERY_S,
            state=found,
            said=said(found),
            share=rounds.share_done(found["round"]) if found["round"] else None,
            hours=hours.drawn(found["backlog"]) if found["backlog"] else None,
        )

    return router


def said(state: Mapping[str, Any]) -> str:
    """The state in a sentence, for whoever listens: changes when something happens, not with every figure."""
    version = state["production"]["version"] if state["production"] else "nothing"
    parts = [f"{version} serves"]
    if state["rollout"]:
        parts.append(f"{state['rollout']} is on its way to the engines")
    if state["canary"]:
        parts.append(f"{state['canary']['version']} is the canary")
    if state["round"] and state["round"].get("status") in UNDER_WAY:
        parts.append(f"{state['round']['round_id']}: {state['round'].get('step')}")
    if state["learning"] and state["learning"]["paused"]:
        parts.append("learning is paused")
    return "; ".join([*parts, *state["troubles"]])
