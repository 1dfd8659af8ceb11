"""Who a visitor of the playground is: a cookie names the browser for a month, a token speaks for it for an
hour. Both are signed with the gateways' shared secret, so that any gateway knows them and nothing is stored.

The cookie is looked at by POST /playground/session alone and the API takes the token alone, so another
site can make a browser send the one but never learn the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from typing import Literal

from feedback.events import new_id

TOKEN_S = 3600
COOKIE_S = 30 * 86_400
_PREFIX = "visit-"
_SEALED = re.compile(r"visit-(vis_[0-9a-z]{26})\.(\d{1,12})\.([0-9a-f]{64})")

Purpose = Literal["token", "cookie"]


@dataclass(frozen=True, kw_only=True)
class Visits:
    """Signs and reads; one per gateway process."""

    secret: str  # that only the gateways know

    def begin(self) -> str:
        """A visitor nobody has seen before."""
        return new_id("vis_")

    def seal(self, visitor: str, purpose: Purpose, *, ends: float) -> str:
        """The cookie or token of a visitor, good until `ends` (unix seconds)."""
        text = f"{visitor}.{ends:.0f}"
        return f"{_PREFIX}{text}.{self._sign(text, purpose)}"

    def unseal(self, sealed: str | None, purpose: Purpose, *, now: float) -> str | None:
        """Whose it is; None if it is not ours, was made for another purpose, or is over."""
        parts = _SEALED.fullmatch(sealed or "")
        if parts is None:
            return None
        visitor, ends, signature = parts.groups()
        ours = self._sign(f"{visitor}.{ends}", purpose)
        if not hmac.compare_digest(ours, signature) or int(ends) < now:
            return None
        return visitor

    def visitor_of(self, secret: str) -> str | None:
        """Whose token this is; None for anything else, an API key for one."""
        if not secret.startswith(_PREFIX):
            return None
        return self.unseal(secret, "token", now=time.time())

    def _sign(self, text: str, purpose: Purpose) -> str:
        key = hashlib.sha256(f"hone playground {purpose}:{self.secret}".encode()).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
