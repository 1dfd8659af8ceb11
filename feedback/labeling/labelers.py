"""People who label: invited by a link, with a name and a password of their own, screened on known answers.

invited -> screening -> active     A labeler may work while in screening; what they say weighs nothing yet.
              |    \\-> failed     An operator can accept them all the same (`accept`), or block anybody.
           blocked
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Literal, cast

import argon2
import orjson
import redis.asyncio

from feedback import keys
from feedback.callers import LABELER_PREFIX
from feedback.errors import (
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
)
from feedback.events import new_id

Status = Literal["screening", "failed", "active", "blocked"]

MIN_PASSWORD = 10  # characters; a longer one needs no rules about signs (NIST SP 800-63B)
_MAX_PASSWORD = 1_000
_LOGIN_TRIES, _LOGIN_WINDOW_S = 10, 600
_hasher = argon2.PasswordHasher()  # argon2id, RFC 9106's low-memory profile


@dataclass(frozen=True, kw_only=True)
class Labeler:
    """One person. `password` is an argon2id hash."""

    id: str  # lab_…
    name: str
    tenant: str
    status: Status
    is_heldout: bool  # never trained on: measures how far the reward model generalises
    created: float  # unix seconds
    password: str = ""
    num_screened: int = 0  # known answers judged in screening
    screen_agreed: float = 0.0  # of their pairs
    screen_pairs: int = 0

    @property
    def screen_agreement(self) -> float | None:
        """Share of the known pairs decided in the known way, 0 to 1."""
        return self.screen_agreed / self.screen_pairs if self.screen_pairs else None


@dataclass(frozen=True, kw_only=True)
class Invite:
    """An open invitation; the token itself is not kept."""

    tenant: str
    is_heldout: bool
    is_trusted: bool  # active at once, without screening
    expires: float  # unix seconds
    by: str


@dataclass(frozen=True, kw_only=True)
class Screening:
    """When a new labeler has passed."""

    num_items: int = 6
    min_agreement: float = (
        0.75  # InstructGPT's labelers agreed with the researchers on about as many
    )

    def decide(self, labeler: Labeler) -> Status:
        """What a labeler in screening is now."""
        if labeler.num_screened < self.num_items:
            return "screening"
        share = labeler.screen_agreement or 0.0
        return "active" if share >= self.min_agreement else "failed"


class Labelers:
    """Kept in Redis. Raises redis.ConnectionError while it is away."""

    def __init__(self, client: redis.asyncio.Redis, *, screening: Screening | None = None) -> None:
        self._redis = client
        self.screening = screening or Screening()

    async def invite(
        self,
        *,
        by: str,
        tenant: str = "default",
        is_heldout: bool = False,
        is_trusted: bool = False,
        valid_s: float = 7 * 86_400,
    ) -> str:
        """A token for one person's link. It can be used once."""
        expires = time.time() + valid_s
        token, field, value = new_invite(
            Invite(
                tenant=tenant, is_heldout=is_heldout, is_trusted=is_trusted, expires=expires, by=by
            )
        )
        await self._redis.hset(keys.INVITES, field, value)
        return token

    async def invitation(self, token: str) -> Invite:
        """Raises NotFound for one that is used, over or not ours."""
        data = await self._get(keys.INVITES, _digest(token))
        invite = None if data is None else Invite(**orjson.loads(data))
        if invite is None or invite.expires < time.time():
            raise NotFound("this invitation was used, or its time is over; ask for another one")
        return invite

    async def join(self, token: str, *, name: str, password: str) -> Labeler:
        """Make the labeler an invitation is for. Raises NotFound, Unprocessable, Conflict."""
        invite = await self.invitation(token)
        name = " ".join(name.split())
        if not 1 <= len(name) <= 64:
            raise Unprocessable("a name has 1 to 64 characters", param="name")
        labeler = Labeler(
            id=new_id(LABELER_PREFIX),
            name=name,
            tenant=invite.tenant,
            status="active" if invite.is_trusted else "screening",
            is_heldout=invite.is_heldout,
            created=time.time(),
            password=await _hash(password),
        )
        if not await self._claim_name(labeler):
            raise Conflict("there is somebody of this name; take another one")
        if not await self._del(keys.INVITES, _digest(token)):  # somebody was quicker
            await self._del(keys.LABELER_NAMES, _key(name))
            raise NotFound("this invitation was used; ask for another one")
        await self._set(keys.LABELERS, labeler.id, asdict(labeler))
        return labeler

    async def log_in(self, *, name: str, password: str) -> Labeler:
        """Raises Unauthorized, Forbidden, TooManyRequests."""
        await self._count_try(name)
        labeler_id = await self._get(keys.LABELER_NAMES, _key(name))
        labeler = await self.get(labeler_id.decode()) if labeler_id else None
        known = labeler.password if labeler is not None else await asyncio.to_thread(_nobodys_hash)
        if not await _is_password(known, password) or labeler is None:
            raise Unauthorized("there is no labeler of this name and password")
        if labeler.status == "blocked":
            raise Forbidden("this labeler was blocked; ask the operator")
        return labeler

    async def get(self, labeler_id: str) -> Labeler | None:
        data = await self._get(keys.LABELERS, labeler_id)
        return None if data is None else load(data)

    async def all(self) -> list[Labeler]:
        """Oldest first."""
        stored = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(keys.LABELERS))
        return sorted(map(load, stored.values()), key=lambda labeler: labeler.id)

    async def set_status(self, labeler_id: str, status: Status) -> Labeler:
        """Accept, block, or test anew. Raises NotFound."""
        labeler = await self._known(labeler_id)
        if status == "screening":
            labeler = replace(labeler, num_screened=0, screen_agreed=0.0, screen_pairs=0)
            await self._redis.delete(keys.known_seen(labeler_id))
        return await self._put(replace(labeler, status=status))

    async def set_password(self, labeler_id: str, password: str) -> Labeler:
        """Raises NotFound, Unprocessable."""
        labeler = await self._known(labeler_id)
        return await self._put(replace(labeler, password=await _hash(password)))

    async def record_screened(self, labeler_id: str, *, agreed: float, pairs: int) -> Labeler:
        """A labeler in screening has judged a known answer. Raises NotFound."""
        labeler = await self._known(labeler_id)
        if labeler.status != "screening":
            return labeler
        labeler = replace(
            labeler,
            num_screened=labeler.num_screened + 1,
            screen_agreed=labeler.screen_agreed + agreed,
            screen_pairs=labeler.screen_pairs + pairs,
        )
        return await self._put(replace(labeler, status=self.screening.decide(labeler)))

    async def _known(self, labeler_id: str) -> Labeler:
        labeler = await self.get(labeler_id)
        if labeler is None:
            raise NotFound(f"there is no labeler {labeler_id}; `hone label list` shows them")
        return labeler

    async def _put(self, labeler: Labeler) -> Labeler:
        await self._set(keys.LABELERS, labeler.id, asdict(labeler))
        return labeler

    async def _claim_name(self, labeler: Labeler) -> bool:
        return bool(await self._redis.hsetnx(keys.LABELER_NAMES, _key(labeler.name), labeler.id))

    async def _count_try(self, name: str) -> None:
        counter = keys.login_tries(hashlib.sha256(_key(name).encode()).hexdigest()[:32])
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(counter, 0, ex=_LOGIN_WINDOW_S, nx=True)
        pipe.incr(counter)
        _, tries = await pipe.execute()
        if int(tries) > _LOGIN_TRIES:
            raise TooManyRequests(
                "too many tries to log in; wait ten minutes", retry_after_s=_LOGIN_WINDOW_S
            )

    async def _get(self, name: str, field: str) -> bytes | None:
        return await cast("Awaitable[bytes | None]", self._redis.hget(name, field))

    async def _set(self, name: str, field: str, value: object) -> None:
        await self._redis.hset(name, field, orjson.dumps(value).decode())

    async def _del(self, name: str, field: str) -> int:
        return await self._redis.hdel(name, field)


def new_invite(invite: Invite) -> tuple[str, str, str]:
    """A token, and the field and value that INVITES has for it."""
    token = secrets.token_urlsafe(24)
    return token, _digest(token), orjson.dumps(asdict(invite)).decode()


def load(data: bytes) -> Labeler:
    """From its JSON in Redis."""
    return Labeler(**orjson.loads(data))


@cache
def _nobodys_hash() -> str:
    """Checked when there is no such name, so that a name cannot be told by the time it takes."""
    return _hasher.hash(secrets.token_hex(16))


async def _hash(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        raise Unprocessable(f"a password has {MIN_PASSWORD} characters or more", param="password")
    return await asyncio.to_thread(_hasher.hash, password)  # 50 ms of one core, on purpose


async def _is_password(known: str, password: str) -> bool:
    if len(password) > _MAX_PASSWORD:
        return False
    try:
        return await asyncio.to_thread(_hasher.verify, known, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
