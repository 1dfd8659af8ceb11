"""Forms of the console that change something: each calls what its /admin route calls.

A reason is asked for where traffic or learning changes; it stays in the audit log. Every form works without
scripts: the browser posts it and is sent back to a page that says what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from feedback.errors import Unprocessable
from feedback.html import see
from serving.console.screens import Screen
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import learning, rounds
from serving.promotion import promote, roll_back

_MAX_REASON = 512
_RECIPE = re.compile(r"[a-z0-9_-]{1,64}")


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """POST routes under /console."""
    router = APIRouter(include_in_schema=False, route_class=Screen)

    @router.post("/console/rollback")
    async def roll_back_now(request: Request) -> Response:
        operator, form = await operators.changing(request)
        await roll_back(
            gateway(),
            actor=operator.key.id,
            reason=reason_of(form),
            production=text_of(form, "production") or None,
        )
        return see("/console?done=rolled-back")

    @router.post("/console/policies/{version}/promote")
    async def promote_now(version: str, request: Request) -> Response:
        operator, form = await operators.changing(request)
        await promote(
            gateway(),
            version,
            actor=operator.key.id,
            reason=reason_of(form),
            override=text_of(form, "override") or None,
        )
        return see(f"/console/policies/{version}?done=promoted")

    @router.post("/console/learning/pause")
    async def pause(request: Request) -> Response:
        operator, form = await operators.changing(request)
        await learning.pause(gateway(), actor=operator.key.id, reason=reason_of(form))
        return see("/console?done=paused")

    @router.post("/console/learning/resume")
    async def resume(request: Request) -> Response:
        operator, form = await operators.changing(request)
        await learning.resume(gateway(), actor=operator.key.id, reason=text_of(form, "reason"))
        return see("/console?done=resumed")

    @router.post("/console/runs")
    async def start(request: Request) -> Response:
        operator, form = await operators.changing(request)
        recipe = text_of(form, "recipe") or None
        if recipe is not None and not _RECIPE.fullmatch(recipe):
            raise Unprocessable(
                "a recipe is a name like cpu-demo: small letters, digits, - and _", param="recipe"
            )
        reason = text_of(form, "reason")
        kind = "moderation" if text_of(form, "kind") == "moderation" else "policy"
        await rounds.request(
            gateway(), actor=operator.key.id, kind=kind, recipe=recipe, reason=reason
        )
        return see("/console/runs?done=requested")

    @router.post("/console/runs/{round_id}/cancel")
    async def cancel(round_id: str, request: Request) -> Response:
        operator, form = await operators.changing(request)
        await rounds.cancel(gateway(), round_id, actor=operator.key.id, reason=reason_of(form))
        return see(f"/console/runs/{round_id}?done=cancelled")

    return router


def reason_of(form: FormData) -> str:
    """Raises Unprocessable where none is given."""
    if not (reason := text_of(form, "reason")):
        raise Unprocessable("say why: the reason stays in the audit log", param="reason")
    return reason


def text_of(form: FormData, name: str) -> str:
    """A field of a form, not longer than what the API takes."""
    return str(form.get(name, "")).strip()[:_MAX_REASON]
