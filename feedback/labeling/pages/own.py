"""One's own start page, how the test went, and the guidelines."""

from __future__ import annotations

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from feedback import keys
from feedback.html import see
from feedback.labeling import guidelines, own_figures, tally
from feedback.labeling.markdown import document_to_html
from feedback.labeling.pages.items import TASKS
from feedback.labeling.pages.parts import Parts
from feedback.labeling.pages.templates import page
from feedback.labeling.pages.trouble import PageRoute
from feedback.labeling.pages.visitors import Visitor, Visitors


def build_router(parts: Parts, visitors: Visitors) -> APIRouter:
    """Routes /label and /label/guidelines."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get("/label")
    async def start(request: Request, screened: int = 0, undone: str = "") -> Response:
        visitor = await visitors.of(request)
        if visitor is None:
            return page("login.html", error=None, name="", with_key=False)
        tenant = visitor.caller.tenant
        done_today = await tally.today(parts.redis(), visitor.id)
        tasks = [
            (task, *TASKS[task], await parts.assignments().depth(tenant=tenant, task=task))
            for task in TASKS
        ]
        return page(
            "start.html",
            who=visitor,
            done_today=done_today,
            figures=await own_figures.read(parts.redis(), visitor.id),
            is_just_screened=bool(screened),
            has_nothing_to_undo=undone == "none",
            tasks=tasks,
            screening=parts.labelers().screening,
            has_test=await _has_test(parts, visitor),
            can_undo=await parts.redis().exists(keys.undoable(visitor.id)),
        )

    @router.get("/label/guidelines")
    async def read(request: Request) -> Response:
        visitor = await visitors.of(request)
        if visitor is None:
            return see("/label")
        text = await guidelines.read(parts.redis(), tenant=visitor.caller.tenant)
        return page("guidelines.html", who=visitor, html=Markup(document_to_html(text)))

    return router


async def _has_test(parts: Parts, visitor: Visitor) -> bool:
    """Whether a known answer waits for somebody in screening, or is on their screen."""
    if visitor.record is None or visitor.record.status != "screening":
        return False
    known = parts.assignments().known
    if await known.next_for(visitor.id, tenant=visitor.caller.tenant) is not None:
        return True
    return bool(await parts.redis().exists(keys.held(visitor.id, "rank")))
