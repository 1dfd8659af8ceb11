"""The labeler's page: plain HTML forms that work without JavaScript.

Log in with an API key of scope `label`; then, set by set: the prompt, its answers in shuffled order and
without names, a rank for each.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from feedback.assignments import Assignments
from feedback.errors import Forbidden, HoneError, Unauthorized
from feedback.intake import Caller, Intake
from feedback.judgements import Candidate, Ranking
from feedback.sessions import LIFETIME_S, Session, Signer

_COOKIE = "hone_label"
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_templates = Environment(
    loader=PackageLoader("feedback", "web"), autoescape=True, undefined=StrictUndefined
)


def build_router(
    *,
    intake: Callable[[], Intake],
    assignments: Callable[[], Assignments],
    signer: Signer,
    log_in: Callable[[str], Awaitable[Caller]],
    caller_of: Callable[[str], Caller | None],
) -> APIRouter:
    """`log_in` takes an API key and raises where it may not label; `caller_of` takes a key's id and
    knows whether it still may."""
    router = APIRouter(include_in_schema=False)

    def visitor(request: Request) -> tuple[Session, Caller] | None:
        session = signer.unseal(request.cookies.get(_COOKIE), now=time.time())
        caller = caller_of(session.key_id) if session is not None else None
        return (session, caller) if session is not None and caller is not None else None

    @router.get("/")
    async def index() -> Response:
        return _page("index.html")

    @router.get("/label/style.css")
    async def style() -> Response:
        css = files("feedback").joinpath("web/style.css").read_bytes()
        return Response(css, media_type="text/css", headers={"cache-control": "max-age=300"})

    @router.get("/label")
    async def queue(request: Request) -> Response:
        known = visitor(request)
        if known is None:
            return _page("login.html", error=None)
        session, caller = known
        waiting = await assignments().depth(tenant=caller.tenant)
        return _page("queue.html", session=session, waiting=waiting)

    @router.post("/label")
    async def enter(request: Request) -> Response:
        form = await request.form()
        try:
            caller = await log_in(_text(form, "key"))
        except (Unauthorized, Forbidden) as error:
            return _page("login.html", status=error.status, error=error.message)
        name = _text(form, "labeler")[:128] or caller.key_id
        session = Session(key_id=caller.key_id, labeler=name, began=int(time.time()))
        response = RedirectResponse("/label/next", status_code=303, headers=_HEADERS)
        response.set_cookie(
            _COOKIE,
            signer.seal(session),
            max_age=LIFETIME_S,
            path="/label",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    @router.get("/label/next")
    async def next_set(request: Request) -> Response:
        known = visitor(request)
        if known is None:
            return RedirectResponse("/label", status_code=303, headers=_HEADERS)
        return await _show_next(assignments(), signer, *known)

    @router.post("/label/next")
    async def judge(request: Request) -> Response:
        known = visitor(request)
        if known is None:
            return RedirectResponse("/label", status_code=303, headers=_HEADERS)
        session, caller = known
        form = await request.form()
        if not signer.is_form_token(session, _text(form, "token")):
            return _page("login.html", status=403, error="This form is not ours. Log in again.")
        try:
            await _take_form(form, session, caller, intake=intake(), assignments=assignments())
        except HoneError as error:
            message = error.message
        except ValidationError:
            message = "Give every answer a rank."
        else:
            return RedirectResponse("/label/next", status_code=303, headers=_HEADERS)
        return await _show_next(
            assignments(), signer, session, caller, error=message, chosen=_chosen(form)
        )

    @router.post("/label/leave")
    async def leave() -> Response:
        response = RedirectResponse("/label", status_code=303, headers=_HEADERS)
        response.delete_cookie(_COOKIE, path="/label")
        return response

    return router


async def _show_next(
    assignments: Assignments,
    signer: Signer,
    session: Session,
    caller: Caller,
    *,
    error: str | None = None,
    chosen: Mapping[int, int] | None = None,
) -> Response:
    assignment = await assignments.next(labeler=session.labeler, tenant=caller.tenant)
    if assignment is None:
        return _page("queue.html", session=session, waiting=0)
    return _page(
        "rank.html",
        status=200 if error is None else 422,
        session=session,
        token=signer.form_token(session),
        assignment=assignment,
        messages=assignment.messages(),
        shown_at=int(time.time() * 1000),
        error=error,
        chosen=chosen or {},
    )


async def _take_form(
    form: FormData, session: Session, caller: Caller, *, intake: Intake, assignments: Assignments
) -> None:
    """Raises ValidationError for a rank that is missing, HoneError for what cannot be judged."""
    completion_id = _text(form, "completion_id")
    if "skip" in form:
        await assignments.skip(completion_id, labeler=session.labeler)
        return
    indexes = [int(str(index)) for index in form.getlist("shown") if str(index).isdecimal()]
    chosen = _chosen(form)
    tiers: dict[int, list[str]] = defaultdict(list)
    for position, index in enumerate(indexes):
        if index in chosen:
            tiers[chosen[index]].append(chr(ord("a") + position))
    shown_at = _text(form, "shown_at")
    took_ms = int(time.time() * 1000) - int(shown_at) if shown_at.isdecimal() else 0
    ranking = Ranking(
        candidates=tuple(Candidate(completion_id=completion_id, index=i) for i in indexes),
        tiers=tuple(tuple(tiers[rank]) for rank in sorted(tiers)),
        all_bad="all_bad" in form,
        shown_order=tuple(chr(ord("a") + position) for position in range(len(indexes))),
        duration_ms=min(max(took_ms, 0), 86_400_000),
        note=_text(form, "note")[:4_000],
        labeler=session.labeler,
    )
    # A second click on the button sends the same form: one judgement.
    key = f"page:{session.labeler}:{completion_id}:{shown_at}"
    await intake.accept(ranking, caller, idempotency_key=key)


def _chosen(form: FormData) -> dict[int, int]:
    """Candidate index -> rank, from the radio buttons `rank-<index>`."""
    chosen = {}
    for name, value in form.multi_items():
        index = name.removeprefix("rank-")
        if name.startswith("rank-") and index.isdecimal() and str(value).isdecimal():
            chosen[int(index)] = int(str(value))
    return chosen


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _page(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    html = _templates.get_template(name).render(**values)
    return HTMLResponse(html, status_code=status, headers=_HEADERS)
