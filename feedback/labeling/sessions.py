"""A labeler's browser session: a signed cookie, and a token that proves a form is ours.

The cookie names a labeler, or the API key somebody came with, by id: who is blocked, and a key that is revoked,
has no session any more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

LIFETIME_S = 12 * 3600


@dataclass(frozen=True, kw_only=True)
class Session:
    """Who sits at the browser."""

    key_id: str  # empty: a labeler with a record and a password
    labeler: str  # id of the record, or the name that somebody with a key gave
    began: int  # unix seconds
    stamp: str = ""  # of the password, which ends its sessions when it is changed


class Signer:
    """Signs with a secret that only the gateways know."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"hone labeling session:" + secret.encode()).digest()

    def seal(self, session: Session) -> str:
        """The cookie of a session."""
        payload = base64.urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode()
        return f"{payload}.{self._sign(payload)}"

    def unseal(self, cookie: str | None, *, now: float) -> Session | None:
        """The session of a cookie; None if it is not ours, or too old."""
        payload, _, signature = (cookie or "").partition(".")
        if not _is_same(self._sign(payload), signature):
            return None
        try:
            session = Session(**json.loads(base64.urlsafe_b64decode(payload)))
        except (binascii.Error, ValueError, TypeError):
            return None
        return session if now - session.began < LIFETIME_S else None

    def form_token(self, session: Session) -> str:
        """What a form of this session carries; another site cannot know it."""
        return self._sign(
            f"form:{session.key_id}:{session.labeler}:{session.stamp}:{session.began}"
        )

    def is_form_token(self, session: Session, token: str) -> bool:
        return _is_same(self.form_token(session), token)

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _is_same(ours: str, given: str) -> bool:
    return hmac.compare_digest(ours.encode(), given.encode())  # of text it takes ASCII only
