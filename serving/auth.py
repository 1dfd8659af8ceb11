"""API keys: made, hashed, scoped, rotated, revoked; and who is calling.

A key is 256 random bits, so a plain SHA-256 is enough to keep it by; what is stored cannot be used.
The functions are for the CLI and the admin routes; `Authenticator` is the gateway's, and goes on
working from memory while Redis is away.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Required, TypedDict, Unpack, cast

import redis
import redis.asyncio

from feedback import keys
from feedback.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from feedback.events import new_id
from moderation.policy import Actions, Stage, checked_actions

SCOPES = ("infer", "label", "view", "view_texts", "admin")
# Who may look at the console and read what it shows; only `admin` changes anything.
VIEWERS = ("admin", "view", "view_texts")
READERS = ("admin", "view_texts")  # who sees the texts of end users there
VISIT = "visit"  # what visitors of the playground may do; no key with a secret has it
_PLAYGROUND = "playground"  # stands where other keys have the hash of their secret


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is known of a key, but not the key."""

    id: str  # key_…
    name: str
    scopes: tuple[str, ...]  # of SCOPES
    tenant: str = "default"
    created: float  # unix seconds
    requests_per_minute: int | None = None  # None: the gateway's default; so for the next two
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None  # answers under way
    store: bool = True  # whether completions are kept when a request does not say
    expires: float | None = None  # unix seconds; set on a secret that was rotated out
    # What moderation does with flagged texts: stage -> category, or `all` -> action (moderation.policy).
    moderation: Mapping[Stage, Actions] = field(default_factory=dict)

    def require(self, *scopes: str) -> None:
        """Raises Forbidden unless the key has one of these scopes."""
        if not set(scopes) & set(self.scopes):
            raise Forbidden(
                f"this key has no scope '{scopes[0]}', only {', '.join(self.scopes)}; "
                f"ask the operator for one: `hone keys create --scope {scopes[0]}`"
            )

    @property
    def end_user(self) -> str | None:
        """The only person this key may speak for; None: whoever the caller names."""
        return None

    @property
    def holder(self) -> str:
        """Whose limits and Idempotency-Keys count together."""
        return self.id


@dataclass(frozen=True, kw_only=True)
class VisitorKey(ApiKey):
    """The playground's key in the hands of one visitor. Never stored."""

    visitor: str  # vis_…

    @property
    def end_user(self) -> str:
        return self.visitor

    @property
    def holder(self) -> str:
        return f"{self.id}:{self.visitor}"


class Terms(TypedDict, total=False):
    """What a key is made with; see ApiKey."""

    name: Required[str]
    scopes: Required[Iterable[str]]
    tenant: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrent: int | None
    store: bool


def create_key(client: redis.Redis, **terms: Unpack[Terms]) -> tuple[str, ApiKey]:
    """Make a key. Returns the key itself, which nobody can show again, and its record."""
    secret = _new_secret()
    record = _new_record(terms)
    client.hset(keys.API_KEYS, _digest(secret), _dump(record))
    return secret, record


def ensure_key(client: redis.Redis, key: str, **terms: Unpack[Terms]) -> ApiKey:
    """Have this very key known, on these terms. Repeating changes nothing but what is given."""
    if not key.startswith("sk-") or len(key) < 20:
        raise BadRequest("a key starts with 'sk-' and has 20 characters or more", param="key")
    known = cast("bytes | None", client.hget(keys.API_KEYS, _digest(key)))
    record = _new_record(terms)
    if known:
        before = _load(known)
        record = replace(record, id=before.id, created=before.created)
    client.hset(keys.API_KEYS, _digest(key), _dump(record))
    return record


def rotate_key(client: redis.Redis, key_id: str, *, grace_s: float) -> tuple[str, ApiKey]:
    """A new secret for a key; the old one is good for `grace_s` more seconds. Raises NotFound."""
    entries = _entries(client, key_id)
    record = next((r for _, r in entries if r.expires is None), None)
    if record is None:
        raise _no_such_key(key_id)
    if VISIT in record.scopes:
        raise BadRequest("the playground's key has no secret; revoking it ends all visits")
    secret = _new_secret()
    pipe = client.pipeline(transaction=True)
    pipe.hset(keys.API_KEYS, _digest(secret), _dump(record))
    for digest, old in entries:
        expires = min(old.expires or math.inf, time.time() + grace_s)
        pipe.hset(keys.API_KEYS, digest, _dump(replace(old, expires=expires)))
    pipe.execute()
    return secret, record


def set_moderation(
    client: redis.Redis, key_id: str, actions: Mapping[Stage, Mapping[str, Any]]
) -> ApiKey:
    """What happens to a key's flagged texts from now on. Raises NotFound, Unprocessable."""
    checked: dict[Stage, Actions] = {
        stage: checked_actions(given) for stage, given in actions.items() if given
    }
    entries = _entries(client, key_id)
    if not entries:
        raise _no_such_key(key_id)
    changed = [(digest, replace(record, moderation=checked)) for digest, record in entries]
    client.hset(keys.API_KEYS, mapping={digest: _dump(record) for digest, record in changed})
    return next((r for _, r in changed if r.expires is None), changed[0][1])


def list_keys(client: redis.Redis) -> list[ApiKey]:
    """All keys, oldest first; one that was rotated, once."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.API_KEYS))
    current = [record for record in map(_load, stored.values()) if record.expires is None]
    return sorted(current, key=lambda record: record.id)


def revoke_key(client: redis.Redis, key_id: str) -> ApiKey:
    """Forget a key with all its secrets; requests with it are 401 within a second.

    Raises NotFound.
    """
    entries = _entries(client, key_id)
    if not entries:
        raise _no_such_key(key_id)
    pipe = client.pipeline(transaction=True)
    pipe.hdel(keys.API_KEYS, *(digest for digest, _ in entries))
    if VISIT in entries[0][1].scopes:
        pipe.set(keys.PLAYGROUND_CLOSED, f"{time.time():.0f}")
    pipe.execute()
    return entries[0][1]


def playground_key(client: redis.Redis) -> ApiKey | None:
    """The key on whose account visitors of the playground come, made when first asked for; None once
    it was revoked."""
    record = ApiKey(id=new_id("key_"), name="playground", scopes=(VISIT,), created=time.time())

    def work(pipe: redis.client.Pipeline) -> None:
        is_closed = pipe.exists(keys.PLAYGROUND_CLOSED)
        pipe.multi()
        if not is_closed:
            pipe.hsetnx(keys.API_KEYS, _PLAYGROUND, _dump(record))
        pipe.hget(keys.API_KEYS, _PLAYGROUND)

    known = cast("list[bytes | None]", client.transaction(work, keys.PLAYGROUND_CLOSED))[-1]
    return _load(known) if known else None


def reopen_playground(client: redis.Redis) -> ApiKey:
    """The playground's key, a new one if it was revoked."""
    client.delete(keys.PLAYGROUND_CLOSED)
    record = playground_key(client)
    if record is None:
        raise Conflict("somebody has just closed the playground again")
    return record


class Authenticator:
    """Knows every key by its hash. Refreshed with the registry; asks Redis about a new key."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        visitor_of: Callable[[str], str | None] | None = None,
    ) -> None:
        """`visitor_of` knows whose token of the playground a secret is; None: nobody visits."""
        self._redis = client
        self._visitor_of = visitor_of
        self._stored: Mapping[bytes, bytes] | None = None
        self._has_all = False  # every key was read once
        self._records: dict[str, ApiKey] = {}

    def update(self, stored: Mapping[bytes, bytes]) -> None:
        """Take over the whole hash of keys, as it is in Redis."""
        self._has_all = True
        if stored == self._stored:
            return
        self._stored = stored
        self._records = {digest.decode(): _load(data) for digest, data in stored.items()}

    def by_id(self, key_id: str) -> ApiKey | None:
        """A key that is not revoked, by its id."""
        return next((record for record in self._records.values() if record.id == key_id), None)

    def tenants(self) -> set[str]:
        """Whose keys there are."""
        return {record.tenant for record in self._records.values()}

    async def authenticate(self, authorization: str | None) -> ApiKey:
        """The key of an `Authorization: Bearer sk-…` header. Raises Unauthorized."""
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("no API key: send the header 'Authorization: Bearer sk-…'")
        return await self.identify(secret.strip())

    async def identify(self, secret: str) -> ApiKey:
        """The record of a key. Raises Unauthorized; Unavailable where only Redis could know."""
        if self._visitor_of is not None and (visitor := self._visitor_of(secret)) is not None:
            return await self.visiting(visitor)
        digest = _digest(secret)
        record = self._records.get(digest) or await self._ask(digest)
        if record is None or (record.expires is not None and record.expires < time.time()):
            raise Unauthorized(
                "this API key is not known here, or was revoked; `hone keys create` makes one"
            )
        return record

    async def visiting(self, visitor: str) -> VisitorKey:
        """The playground's key, in this visitor's hands. Raises Unauthorized once it is revoked."""
        record = self._records.get(_PLAYGROUND) or await self._ask(_PLAYGROUND)
        if record is None:
            raise Unauthorized("the playground is closed", code="playground_closed")
        return VisitorKey(**vars(record), visitor=visitor)

    async def _ask(self, digest: str) -> ApiKey | None:
        """A key that was made after the last refresh."""
        try:
            data = await cast("Awaitable[bytes | None]", self._redis.hget(keys.API_KEYS, digest))
        except (redis.RedisError, OSError) as error:
            if self._has_all:
                return None
            # This gateway has started while Redis is away. A 401 would tell a right key to give up.
            raise Unavailable(
                "no key can be looked up at the moment; try again soon", retry_after_s=2
            ) from error
        if data is None:
            return None
        self._records[digest] = _load(data)
        self._stored = None  # so that the next refresh counts, should this key be revoked by then
        return self._records[digest]


def _new_secret() -> str:
    return "sk-" + secrets.token_urlsafe(32)


def _new_record(terms: Terms) -> ApiKey:
    checked = {**terms, "scopes": _checked(terms["scopes"])}
    return ApiKey(id=new_id("key_"), created=time.time(), **checked)  # type: ignore[arg-type]


def _entries(client: redis.Redis, key_id: str) -> list[tuple[bytes, ApiKey]]:
    """Digest and record of each secret of a key. Drops those whose time is over."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.API_KEYS))
    entries = [(digest, _load(data)) for digest, data in stored.items()]
    over = [d for d, record in entries if record.expires and record.expires < time.time()]
    if over:
        client.hdel(keys.API_KEYS, *over)
    return [(d, record) for d, record in entries if record.id == key_id and d not in over]


def _no_such_key(key_id: str) -> NotFound:
    return NotFound(f"there is no key {key_id}; `hone keys list` shows what there is", param="id")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(scopes: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise BadRequest(f"scopes are of {', '.join(SCOPES)}; not {unknown}", param="scopes")
    return wanted


def _dump(record: ApiKey) -> str:
    return json.dumps(asdict(record))


def _load(data: bytes) -> ApiKey:
    fields = json.loads(data)
    return ApiKey(**{**fields, "scopes": tuple(fields["scopes"])})
