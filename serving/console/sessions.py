"""Logging in to the console with an API key of scope `admin`.

The cookie names the key by its id, not the key itself: a key that is revoked, or loses the scope, has no
session any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.errors import Forbidden, Unauthorized
from feedback.html import see
from feedback.labeling.sessions import LIFETIME_S, Session, Signer
from serving.auth import ApiKey
from serving.console.pages import page
from serving.gateway import Gateway

_COOKIE = "hone_console"


class Operators:
    """Who may see the console."""

    def __init__(self, gateway: Callable[[], Gateway], *, secret: str) -> None:
        self._gateway = gateway
        # Of another kind than a labeler's: that cookie is no good here.
        self._signer = Signer(f"console:{secret}")

    def find(self, request: Request) -> tuple[Session, ApiKey] | None:
        """The session of a request and its key; None: nobody, or nobody any more."""
        session = self._signer.unseal(request.cookies.get(_COOKIE), now=time.time())
        key = self._gateway().authenticator.by_id(session.key_id) if session is not None else None
        if session is None or key is None or "admin" not in key.scopes:
            return None
        return session, key

    async def begin(self, secret: str) -> str:
        """The cookie of a new session. Raises Unauthorized, Forbidden."""
        key = await self._gateway().authenticator.identify(secret)
        key.require("admin")
        return self._signer.seal(Session(key_id=key.id, labeler="", began=int(time.time())))

    def token(self, session: Session) -> str:
        """What a form of this session carries; another site cannot know it."""
        return self._signer.form_token(session)

    def is_token(self, session: Session, token: str) -> bool:
        return self._signer.is_form_token(session, token)


def build_router(operators: Operators) -> APIRouter:
    """Routes /console and /console/leave."""
    router = APIRouter(include_in_schema=False)

    @router.get("/console")
    async def entry(request: Request) -> Response:
        if operators.find(request) is not None:
            return see("/console/labeling")
        return page("login.html", error=None)

    @router.post("/console")
    async def enter(request: Request) -> Response:
        form = await request.form()
        given = form.get("key", "")
        try:
            cookie = await operators.begin(given.strip() if isinstance(given, str) else "")
        except (Unauthorized, Forbidden) as error:
            return page("login.html", status=error.status, error=error.message)
        response = see("/console/labeling")
        response.set_cookie(
            _COOKIE,
            cookie,
            max_age=LIFETIME_S,
            path="/console",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    @router.post("/console/leave")
    async def leave(request: Request) -> Response:
        found = operators.find(request)
        token = (await request.form()).get("token", "")
        if found is not None and not operators.is_token(found[0], str(token)):
            return page("login.html", status=403, error="This form is not ours. Log in again.")
        response = see("/console")
        response.delete_cookie(_COOKIE, path="/console")
        return response

    return router
