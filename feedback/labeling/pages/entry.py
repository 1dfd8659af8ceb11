"""Log in, join by invitation, log out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.errors import (
    Conflict,
    Forbidden,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
)
from feedback.html import see
from feedback.labeling.labelers import MIN_PASSWORD
from feedback.labeling.pages.parts import Parts
from feedback.labeling.pages.templates import page
from feedback.labeling.pages.trouble import PageRoute, sentence
from feedback.labeling.pages.visitors import Visitors, require_same_site, text

_REFUSED = (Unauthorized, Forbidden, TooManyRequests)


def build_router(parts: Parts, visitors: Visitors) -> APIRouter:
    """Routes /label (POST), /label/join and /label/leave."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.post("/label")
    async def enter(request: Request) -> Response:
        require_same_site(request)
        form = await request.form()
        name, key = text(form, "name"), text(form, "key")
        try:
            if key or "key" in form:
                session = await visitors.come_with_key(key, name=text(form, "labeler")[:128])
            else:
                session = await visitors.come(name=name, password=_password(form.get("password")))
        except _REFUSED as error:
            shown = {"name": name, "error": sentence(error), "with_key": "key" in form}
            return page("login.html", status=error.status, **shown)
        response = see("/label")
        visitors.remember(response, session, request)
        return response

    @router.get("/label/join/{token}")
    async def invitation(token: str) -> Response:
        await parts.labelers().invitation(token)
        return _join_page(token)

    @router.post("/label/join/{token}")
    async def join(token: str, request: Request) -> Response:
        require_same_site(request)
        form = await request.form()
        name, password = text(form, "name"), _password(form.get("password"))
        try:
            record = await parts.labelers().join(token, name=name, password=password)
        except (Unprocessable, Conflict) as error:
            return _join_page(token, name=name, error=sentence(error), status=error.status)
        response = see("/label")
        visitors.remember(response, visitors.session_of(record), request)
        return response

    @router.post("/label/leave")
    async def leave(request: Request) -> Response:
        visitor = await visitors.of(request)
        if visitor is not None and not visitors.is_ours(visitor, await request.form()):
            raise Forbidden("This form is not ours. Go to your queue and log out there.")
        response = see("/label")
        visitors.forget(response)
        return response

    return router


def _join_page(
    token: str, *, name: str = "", error: str | None = None, status: int = 200
) -> Response:
    return page(
        "join.html",
        status=status,
        token=token,
        name=name,
        error=error,
        min_password=MIN_PASSWORD,
    )


def _password(value: object) -> str:
    return value if isinstance(value, str) else ""  # spaces belong to it
