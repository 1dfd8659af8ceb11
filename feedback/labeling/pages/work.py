"""One piece of work after another: judge, skip, undo. What was chosen comes back with every error."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any, get_args

import orjson
from fastapi import APIRouter, Request
from markupsafe import Markup, escape
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from feedback import keys
from feedback.errors import Forbidden, HoneError, NotFound, Unauthorized, Unprocessable
from feedback.html import HEADERS, see
from feedback.journal import AWAY
from feedback.judgements import Judgement, Skip, SkipReason, body_of
from feedback.labeling import tally
from feedback.labeling.assignments import Worker
from feedback.labeling.given import Assignment, Given
from feedback.labeling.pages import forms, items
from feedback.labeling.pages.parts import Parts
from feedback.labeling.pages.templates import page
from feedback.labeling.pages.trouble import PageRoute, sentence, wants_json
from feedback.labeling.pages.visitors import Visitor, Visitors, text
from feedback.labeling.queues import Task

log = logging.getLogger(__name__)

_LOGGED_OUT = "You are not logged in any more. Log in again in another tab, then come back and send this again."
_STALE = (
    "You have logged in anew since this page was opened. Nothing is lost: please send it again."
)


def build_router(parts: Parts, visitors: Visitors) -> APIRouter:
    """Routes /label/next, /label/renew, /label/skip and /label/undo."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    async def worker(request: Request) -> tuple[Visitor, FormData]:
        """Who sent a form. Raises Unauthorized, Forbidden."""
        visitor = await visitors.of(request)
        if visitor is None or not visitor.may_work:
            raise Unauthorized(_LOGGED_OUT)
        form = await request.form()
        if not visitors.is_ours(visitor, form):
            raise Forbidden(_STALE)
        return visitor, form

    @router.get("/label/next")
    async def show_next(request: Request, task: Task = "rank", again: str = "") -> Response:
        visitor = await visitors.of(request)
        if visitor is None or not visitor.may_work:
            return see("/label")
        who = Worker(
            labeler=visitor.id, tenant=visitor.caller.tenant, is_screened=visitor.is_screened
        )
        assignment = await parts.assignments().next(who, task=task)
        if assignment is None:
            return await _nothing(parts, visitor, task)
        filled = await _as_before(parts, visitor, assignment, again)
        return await _show(parts, visitor, assignment, filled=filled)

    @router.post("/label/next")
    async def judge(request: Request) -> Response:
        try:
            visitor, form = await worker(request)
        except Forbidden as error:
            return await _again(parts, visitors, request, error)
        given = await parts.assignments().find(text(form, "assignment"), labeler=visitor.id)
        try:
            judgement = forms.judgement_of(form, given)
            is_new = await _accept(parts, visitor, judgement, shown_at=text(form, "shown_at"))
        except Unprocessable as error:
            return await _again(parts, visitors, request, error)
        if is_new:
            await _count(parts, visitor, 1)
        return _onward(request, await _after(visitors, visitor, given, request))

    @router.post("/label/renew")
    async def renew(request: Request) -> Response:
        visitor, form = await worker(request)
        await parts.assignments().renew(text(form, "assignment"), labeler=visitor.id)
        return Response(status_code=204, headers=HEADERS)

    @router.post("/label/skip")
    async def skip(request: Request) -> Response:
        visitor, form = await worker(request)
        given = await parts.assignments().find(text(form, "assignment"), labeler=visitor.id)
        if (reason := text(form, "skip")) not in get_args(SkipReason):
            raise Unprocessable("Say why you skip it.", param="skip")
        why = Skip.model_validate({"reason": reason})
        await parts.intake().skip(given, visitor.caller, why)
        return see(f"/label/next?task={given.task}")

    @router.post("/label/undo")
    async def undo(request: Request) -> Response:
        visitor, _ = await worker(request)
        undone = await parts.intake().undo(visitor.caller)
        if undone is None:
            return see("/label?undone=none")
        given, said = undone
        await _count(parts, visitor, -1)
        return see(f"/label/next?task={given.task}&again={said.id}")

    return router


async def _accept(parts: Parts, visitor: Visitor, judgement: Judgement, *, shown_at: str) -> bool:
    """False: it is here already. Raises Unprocessable."""
    # Pressed twice, or sent again after a reply that got lost: the same words from the same page are one
    # judgement, however long either took to come.
    words = orjson.dumps(body_of(judgement) | {"duration_ms": None})
    digest = hashlib.sha256(words).hexdigest()[:16]
    key = f"page:{judgement.assignment_id}:{shown_at}:{digest}"
    try:
        receipt = await parts.intake().accept(judgement, visitor.caller, idempotency_key=key)
    except Unprocessable as error:
        if error.error_code != "idempotency_key_reused":
            raise
        return False
    return not receipt.is_replay


async def _show(
    parts: Parts,
    visitor: Visitor,
    assignment: Assignment,
    *,
    filled: forms.Filled,
    error: str | None = None,
    status: int = 200,
) -> Response:
    lease_s = parts.assignments().queues.lease_s
    item = await asyncio.to_thread(items.build, assignment, lease_s=lease_s)
    return page(
        "work.html",
        status=status,
        who=visitor,
        item=item,
        error=error,
        flags=items.FLAGS,
        preferences=items.PREFERENCES,
        skip_reasons=items.SKIP_REASONS,
        done_today=await tally.today(parts.redis(), visitor.id),
        can_undo=await parts.redis().exists(keys.undoable(visitor.id)),
        **_fillers(filled),
    )


async def _again(parts: Parts, visitors: Visitors, request: Request, error: HoneError) -> Response:
    """The same item, filled in as it was sent. Raises the error where there is no such item."""
    visitor, form = await visitors.of(request), await request.form()
    if visitor is None or wants_json(request):
        raise error
    given = await parts.assignments().find(text(form, "assignment"), labeler=visitor.id)
    assignment = await parts.assignments().show(given)
    if assignment is None:
        raise NotFound(
            "This item was taken away, because its author wants it so. Take the next one."
        )
    return await _show(
        parts,
        visitor,
        assignment,
        filled=forms.fields_of(form),
        error=sentence(error),
        status=error.status,
    )


async def _nothing(parts: Parts, visitor: Visitor, task: Task) -> Response:
    others = [
        (other, *named)
        for other, named in items.TASKS.items()
        if other != task
        and await parts.assignments().depth(tenant=visitor.caller.tenant, task=other)
    ]
    return page("nothing.html", who=visitor, task=task, others=others)


async def _after(visitors: Visitors, visitor: Visitor, given: Given, request: Request) -> str:
    """Where to go: to the next, or, where this was the last of the test, to how it went."""
    if visitor.record is not None and visitor.record.status == "screening":
        now = await visitors.of(request)
        if now is not None and now.record is not None and now.record.status != "screening":
            return "/label?screened=1"
    return f"/label/next?task={given.task}"


async def _count(parts: Parts, visitor: Visitor, step: int) -> None:
    try:
        await tally.add(parts.redis(), visitor.id, step=step)
    except AWAY as error:  # the judgement is safe; a figure is one off
        log.warning("a judgement is not counted: %s", error)


async def _as_before(
    parts: Parts, visitor: Visitor, assignment: Assignment, feedback_id: str
) -> forms.Filled:
    """What was said of it before it was undone; empty where it is another one by now."""
    if not feedback_id:
        return {}
    try:
        said = await parts.intake().find(feedback_id, visitor.caller)
    except NotFound:  # erased meanwhile
        return {}
    if said.assignment_id != assignment.id:
        return {}
    return forms.fill_from(said.body, assignment.given)


def _onward(request: Request, path: str) -> Response:
    return JSONResponse({"next": path}, headers=HEADERS) if wants_json(request) else see(path)


def _fillers(filled: forms.Filled) -> dict[str, Callable[..., Any]]:
    """What the templates call to fill a form in."""

    def checked(name: str, value: str) -> str:
        return " checked" if value in filled.get(name, ()) else ""

    def filled_text(name: str) -> str:
        return next(iter(filled.get(name, ())), "")

    def filled_any(name: str) -> bool:
        return bool(filled.get(name))

    def both(part: items.Part) -> Markup:
        """Both ways to show a text; the page's switch chooses."""
        return Markup(
            '<div class="md" dir="auto">{}</div><pre class="raw" dir="auto">{}</pre>'
        ).format(part.html, escape(part.raw))

    return {
        "checked": checked,
        "filled_text": filled_text,
        "filled_any": filled_any,
        "text": both,
    }
