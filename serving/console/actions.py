"""What the console's forms change: each calls what its /admin route calls.

A reason is asked for where traffic changes, or learning stops; it stays in the audit log.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import APIRouter

from feedback.errors import Unprocessable
from serving.console import forms
from serving.console.forms import Form, Said
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.oversight import learning, moderation, rounds
from serving.promotion import promote, roll_back

_RECIPE = re.compile(r"[a-z0-9_-]{1,64}")


def build_router(gateway: Callable[[], Gateway], operators: Operators) -> APIRouter:
    """POST routes under /console."""
    return forms.build_router(gateway, operators, FORMS)


async def _roll_back(gateway: Gateway, said: Said) -> None:
    production = said.text("production") or None
    await roll_back(gateway, actor=said.actor, reason=said.reason, production=production)


async def _promote(gateway: Gateway, said: Said) -> None:
    override = said.text("override") or None
    version, why = said.at["version"], said.reason
    await promote(gateway, version, actor=said.actor, reason=why, override=override)


async def _pause(gateway: Gateway, said: Said) -> None:
    await learning.pause(gateway, actor=said.actor, reason=said.reason)


async def _resume(gateway: Gateway, said: Said) -> None:
    await learning.resume(gateway, actor=said.actor, reason=said.text("reason"))


async def _start(gateway: Gateway, said: Said) -> None:
    recipe = said.text("recipe") or None
    if recipe is not None and not _RECIPE.fullmatch(recipe):
        raise Unprocessable(
            "a recipe is a name like cpu-demo: small letters, digits, - and _", param="recipe"
        )
    kind = "moderation" if said.text("kind") == "moderation" else "policy"
    reason = said.text("reason")
    await rounds.request(gateway, actor=said.actor, kind=kind, recipe=recipe, reason=reason)


async def _cancel(gateway: Gateway, said: Said) -> None:
    await rounds.cancel(gateway, said.at["round_id"], actor=said.actor, reason=said.reason)


async def _retry(gateway: Gateway, said: Said) -> None:
    reason = said.text("reason")
    await rounds.retry(gateway, said.at["round_id"], actor=said.actor, reason=reason)


async def _override(gateway: Gateway, said: Said) -> None:
    await rounds.override(gateway, said.at["round_id"], actor=said.actor, reason=said.reason)


async def _promote_moderation(gateway: Gateway, said: Said) -> None:
    await moderation.promote(gateway, said.at["version"], actor=said.actor, reason=said.reason)


async def _roll_back_moderation(gateway: Gateway, said: Said) -> None:
    production = said.text("production") or None
    await moderation.roll_back(gateway, actor=said.actor, reason=said.reason, production=production)


FORMS = (
    Form(path="/console/rollback", change=_roll_back, back="/console?done=rolled-back"),
    Form(
        path="/console/policies/{version}/promote",
        change=_promote,
        back="/console/policies/{version}?done=promoted",
    ),
    Form(path="/console/learning/pause", change=_pause, back="/console?done=paused"),
    Form(path="/console/learning/resume", change=_resume, back="/console?done=resumed"),
    Form(path="/console/runs", change=_start, back="/console/runs?done=requested"),
    Form(
        path="/console/runs/{round_id}/cancel",
        change=_cancel,
        back="/console/runs/{round_id}?done=cancelled",
    ),
    Form(
        path="/console/runs/{round_id}/retry",
        change=_retry,
        back="/console/runs/{round_id}?done=retried",
    ),
    Form(
        path="/console/runs/{round_id}/override",
        change=_override,
        back="/console/runs/{round_id}?done=overridden",
    ),
    Form(
        path="/console/moderation/rollback",
        change=_roll_back_moderation,
        back="/console/moderation?done=moderation-changed",
    ),
    Form(
        path="/console/moderation/{version}/promote",
        change=_promote_moderation,
        back="/console/moderation/{version}?done=moderation-changed",
    ),
)
