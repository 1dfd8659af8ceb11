"""/console/canary: a version that answers a share of the people, what is counted of it, what the tests say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.errors import Unprocessable
from serving.canary import steering
from serving.canary.routes import overview
from serving.console import forms, plots
from serving.console.forms import Form, Said
from serving.console.screens import Screen, show
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.registry import PRODUCTION

_EVERY_S = 3
_OFFERED = 20  # versions to choose from; any other by the command line
TESTS = {
    "errors": "Answers fail more often",
    "flags": "Moderation flags more",
    "thumbs_down": "More thumbs down",
    "pairs_lost": "People prefer production",
    "pairs_won": "People prefer the canary",
}


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """Route /console/canary, and its forms."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.get("/console/canary")
    async def show_canary(request: Request) -> Response:
        operator = operators.require(request)
        found = await asyncio.to_thread(overview, gateway())
        return show(
            request,
            operator,
            "canary.html",
            section="Canary",
            every_s=_EVERY_S,
            state=found,
            tests=tests(found["verdict"]) if found["verdict"] else [],
            pairs=_pairs(found["figures"]),
            offered=_offered(gateway()),
            default_share=gateway().settings.canary_share or 0.1,
            said=_said(found),
        )

    router.include_router(forms.build_router(gateway, operators, FORMS))
    return router


async def _begin(gateway: Gateway, said: Said) -> None:
    await steering.begin(
        gateway,
        said.text("version"),
        share=_share(said.text("percent")),
        actor=said.actor,
        reason=said.reason,
        override=said.text("override") or None,
    )


async def _hold(gateway: Gateway, said: Said) -> None:
    await steering.hold(gateway, actor=said.actor, reason=said.reason)


async def _abort(gateway: Gateway, said: Said) -> None:
    version = said.text("version") or None
    await steering.abort(gateway, version=version, actor=said.actor, reason=said.reason)


FORMS = (
    Form(path="/console/canary", change=_begin, back="/console/canary?done=canary-begun"),
    Form(path="/console/canary/hold", change=_hold, back="/console/canary?done=canary-held"),
    Form(path="/console/canary/abort", change=_abort, back="/console/canary?done=canary-aborted"),
)


def tests(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each with how far its evidence is, 0 to 1: by its logarithm, as evidence multiplies."""
    return [
        {
            **test,
            "says": TESTS.get(test["name"], test["name"]),
            "share": min(max(math.log(max(test["e_value"], 1.0)) / math.log(test["needed"]), 0), 1),
            "has_spoken": test["e_value"] >= test["needed"],
        }
        for test in verdict["tests"]
    ]


def _pairs(figures: Mapping[str, Any] | None) -> plots.Bar | None:
    if figures is None or figures["pairs"]["win_rate"] is None:
        return None
    pairs = figures["pairs"]
    return plots.bar(
        pairs["win_rate"], low=pairs["low"], high=pairs["high"], limit=0.5, ends=(0.0, 1.0)
    )


def _offered(gateway: Gateway) -> list[str]:
    """The newest versions that could be a canary."""
    live = gateway.refresher.live
    versions = sorted(live.policies, reverse=True)
    return [version for version in versions if version != live.aliases.get(PRODUCTION)][:_OFFERED]


def _share(percent: str) -> float:
    """Per cent of the people, as a share. Raises Unprocessable."""
    try:
        return float(percent) / 100
    except ValueError as error:
        raise Unprocessable(
            "how many per cent of the people? A number like 10", param="percent"
        ) from error


def _said(state: Mapping[str, Any]) -> str:
    if state["running"] is None:
        return "no canary"
    verdict = state["verdict"] or {"action": "hold"}
    return f"{state['running']['version']} is the canary: {verdict['action'].replace('_', ' ')}"
