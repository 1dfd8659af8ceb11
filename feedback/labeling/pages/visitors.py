"""Who sits at the browser: a labeler with a record, or somebody who came with an API key."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from feedback.callers import Caller
from feedback.errors import Forbidden
from feedback.labeling.labelers import Labeler
from feedback.labeling.pages.parts import Parts
from feedback.labeling.sessions import LIFETIME_S, Session

_COOKIE = "hone_label"
_PATH = "/label"


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Somebody who is logged in."""

    session: Session
    caller: Caller
    record: Labeler | None  # None: came with an API key
    token: str  # what every form carries

    @property
    def id(self) -> str:
        return self.session.labeler

    @property
    def name(self) -> str:
        return self.session.labeler if self.record is None else self.record.name

    @property
    def is_screened(self) -> bool:
        return self.record is None or self.record.status == "active"

    @property
    def may_work(self) -> bool:
        return self.record is None or self.record.status in ("active", "screening")


class Visitors:
    """Sessions, checked against what they stand on: a key that is revoked, a password that is changed or a
    labeler who is blocked ends them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._signer = parts.signer

    async def of(self, request: Request) -> Visitor | None:
        """None: nobody is logged in. Raises redis.ConnectionError."""
        session = self._signer.unseal(request.cookies.get(_COOKIE), now=time.time())
        if session is None:
            return None
        if session.key_id:
            caller = self._parts.caller_of(session.key_id)
            return None if caller is None else self._visitor(session, caller, None)
        record = await self._parts.labelers().get(session.labeler)
        if record is None or record.status == "blocked" or _stamp(record) != session.stamp:
            return None
        return self._visitor(session, _caller(record), record)

    def is_ours(self, visitor: Visitor, form: FormData) -> bool:
        """Whether a form came from a page of this session."""
        return self._signer.is_form_token(visitor.session, text(form, "token"))

    async def come_with_key(self, key: str, *, name: str) -> Session:
        """Raises Unauthorized, Forbidden."""
        caller = await self._parts.log_in(key)
        return _session(key_id=caller.key_id, labeler=name or caller.key_id)

    async def come(self, *, name: str, password: str) -> Session:
        """Raises Unauthorized, Forbidden, TooManyRequests."""
        return self.session_of(await self._parts.labelers().log_in(name=name, password=password))

    def session_of(self, record: Labeler) -> Session:
        return _session(labeler=record.id, stamp=_stamp(record))

    def remember(self, response: Response, session: Session, request: Request) -> None:
        """Set the cookie."""
        response.set_cookie(
            _COOKIE,
            self._signer.seal(session),
            max_age=LIFETIME_S,
            path=_PATH,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    @staticmethod
    def forget(response: Response) -> None:
        response.delete_cookie(_COOKIE, path=_PATH)

    def _visitor(self, session: Session, caller: Caller, record: Labeler | None) -> Visitor:
        token = self._signer.form_token(session)
        return Visitor(session=session, caller=caller, record=record, token=token)


def text(form: FormData, name: str) -> str:
    """A field's text; empty if it is not there, or a file."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def prose(form: FormData, name: str) -> str:
    """A text as it was written: forms send line ends as CR LF, and the first line may be indented."""
    value = form.get(name, "")
    return value.replace("\r\n", "\n").strip("\n").rstrip() if isinstance(value, str) else ""


def require_same_site(request: Request) -> None:
    """Raises Forbidden for a form that another site sent, where there is no session to prove it."""
    origin = request.headers.get("origin")
    if origin not in (None, "null") and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden("this form is not ours; open the page anew")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("this form is not ours; open the page anew")


def _session(*, labeler: str, key_id: str = "", stamp: str = "") -> Session:
    return Session(key_id=key_id, labeler=labeler, stamp=stamp, began=int(time.time()))


def _caller(record: Labeler) -> Caller:
    return Caller(
        key_id=record.id,
        tenant=record.tenant,
        is_labeler=True,
        source="labeler",
        person=record.id,
    )


def _stamp(record: Labeler) -> str:
    """Another one after the password was changed."""
    return hashlib.sha256(record.password.encode()).hexdigest()[:16]
