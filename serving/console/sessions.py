"""Logging in to the console with an API key: `admin` operates, `view` and `view_texts` look.

The cookie names the key by its id, not the key itself: a key that is revoked, or loses the scope, has no
session any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from feedback.errors import Forbidden, Unauthorized
from feedback.html import see
from feedback.labeling.sessions import LIFETIME_S, Session, Signer
from serving.auth import READERS, VIEWERS, ApiKey
from serving.console.pages import page
from serving.gateway import Gateway

_COOKIE = "hone_console"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Who looks at the console, and what they may."""

    session: Session
    key: ApiKey
    token: str  # what a form of this session carries; another site cannot know it

    @property
    def may_change(self) -> bool:
        return "admin" in self.key.scopes

    @property
    def may_read_texts(self) -> bool:
        return bool(set(READERS) & set(self.key.scopes))


class LoginNeeded(Exception):
    """Nobody is logged in, or nobody any more."""


class Operators:
    """Who may see the console."""

    def __init__(self, gateway: Callable[[], Gateway], *, secret: str) -> None:
        self._gateway = gateway
        # Of another kind than a labeler's: that cookie is no good here.
        self._signer = Signer(f"console:{secret}")

    def find(self, request: Request) -> Operator | None:
        """Whoever sends a request; None: nobody, or nobody any more."""
        session = self._signer.unseal(request.cookies.get(_COOKIE), now=time.time())
        key = self._gateway().authenticator.by_id(session.key_id) if session is not None else None
        if session is None or key is None or not set(VIEWERS) & set(key.scopes):
            return None
        return Operator(session=session, key=key, token=self._signer.form_token(session))

    async def begin(self, secret: str) -> str:
        """The cookie of a new session. Raises Unauthorized, Forbidden."""
        key = await self._gateway().authenticator.identify(secret)
        key.require(*VIEWERS)
        return self._signer.seal(Session(key_id=key.id, labeler="", began=int(time.time())))

    async def changing(self, request: Request) -> tuple[Operator, FormData]:
        """Who sends a form that changes something, and the form. Raises Unauthorized, Forbidden."""
        form = await request.form()
        operator = self.find(request)
        if operator is None:
            raise Unauthorized("your session is over; log in again")
        if not self._signer.is_form_token(operator.session, str(form.get("token", ""))):
            raise Forbidden(
                "this form is not ours, or older than your session; open the page again"
            )
        if not operator.may_change:
            raise Forbidden("this key may look, not change: log in with a key of scope admin")
        return operator, form

    def require(self, request: Request) -> Operator:
        """Whoever sends a request. Raises LoginNeeded."""
        if (operator := self.find(request)) is None:
            raise LoginNeeded
        return operator

    def is_token(self, session: Session, token: str) -> bool:
        return self._signer.is_form_token(session, token)


def build_router(operators: Operators) -> APIRouter:
    """POST /console and /console/leave; who is logged in sees the overview at GET /console."""
    router = APIRouter(include_in_schema=False)

    @router.post("/console")
    async def enter(request: Request) -> Response:
        form = await request.form()
        given, wanted = form.get("key", ""), str(form.get("next", ""))
        try:
            cookie = await operators.begin(given.strip() if isinstance(given, str) else "")
        except (Unauthorized, Forbidden) as error:
            return login_page(status=error.status, error=error.message, next_path=wanted)
        response = see(wanted if is_ours(wanted) else "/console")
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
        token = str((await request.form()).get("token", ""))
        if found is not None and not operators.is_token(found.session, token):
            return login_page(status=403, error="This form is not ours. Log in again.")
        response = see("/console")
        response.delete_cookie(_COOKIE, path="/console")
        return response

    return router


def login_page(*, status: int = 200, error: str | None = None, next_path: str = "") -> Response:
    return page("login.html", status=status, error=error, next=next_path, operator=None)


def is_ours(path: str) -> bool:
    """Whether a path is one of the console's, and not another site's."""
    return path.startswith("/console/") and "//" not in path and "\\" not in path
