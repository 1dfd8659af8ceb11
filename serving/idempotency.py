"""`Idempotency-Key`: a request sent twice under one key is carried out once.

1. The first request leaves a mark in Redis, with the digest of its body.
2. Its answer is kept there for a day, before the client has the last of it.
3. The same request again gets that answer, with `idempotent-replayed: true`; another body under
   the same key is 422; while the first is still being answered, 409.

An answer that a repetition may better (5xx, 429, a broken stream, a client that left) is not kept.
Judgements do without: their key becomes the event's id (feedback.intake), which also holds while
Redis is away. Here nothing can be promised then, and the request is simply carried out.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from typing import Any, cast

import orjson
import redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback import keys
from feedback.errors import HoneError, InProgress, Unprocessable
from serving.edge import respond
from serving.gateway import Gateway

log = logging.getLogger(__name__)

# Not the making of keys: their answers hold secrets, which are not to be kept.
_PATHS = (
    *("/v1/chat/completions", "/v1/completions"),
    *("/admin/policies/", "/admin/rollback", "/admin/rounds"),
)
_KEPT_S = 86_400
_MAX_KEPT_BYTES = 1_000_000
_PASSING = (401, 403, 409, 429, 499)  # answers that say nothing of the request itself
_HEADERS = (
    *(b"content-type", b"x-inference-id"),
    *(b"x-policy-version", b"x-policy-digest", b"x-policy-alias"),
)
_AWAY = (redis.RedisError, OSError)
# As our own JSON has it. Within a text the quotes are escaped; a tool call's id has another form.
_COMPLETION_ID = re.compile(rb'"id":"(chatcmpl-[0-9a-z]{26})"')


class Idempotent:
    """ASGI, inside Edge, which hands the whole body on in one message."""

    def __init__(self, app: ASGIApp, *, gateway: Callable[[], Gateway]) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked_key(scope)
        if asked is None:
            await self._app(scope, receive, send)
            return
        try:
            name = await self._name(scope, asked)
        except HoneError:
            await self._app(scope, receive, send)  # which says what is wrong with the API key
            return
        message = await receive()
        digest = hashlib.sha256(scope["path"].encode() + b"\0" + message["body"]).digest()

        async def receive_again() -> Message:
            nonlocal message
            given, message = message, {}
            return given or await receive()

        try:
            stored = await self._mark(name, digest)
        except _AWAY as error:
            log.warning("redis is away, an Idempotency-Key is not honoured: %s", error)
            await self._app(scope, receive_again, send)
            return
        try:
            if stored is None:
                await self._carry_out(name, scope, receive_again, send)
            else:
                await _replay(stored, digest, send)
        except HoneError as error:
            await respond(error)(scope, receive, send)

    async def _name(self, scope: Scope, asked: bytes) -> str:
        """The Redis key of this Idempotency-Key. Raises Unauthorized."""
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        api_key = await self._gateway().authenticator.authenticate(authorization)
        return keys.idempotency(api_key.holder, hashlib.sha256(asked).hexdigest())

    async def _mark(self, name: str, digest: bytes) -> dict[bytes, bytes] | None:
        """None when this request is the first; else what is kept of it."""
        # An answer takes so long at most, so a mark that is older was left by a gateway that died.
        running_s = int(self._gateway().settings.request_timeout_s) + 30
        pipe = self._gateway().journal.redis.pipeline(transaction=True)
        pipe.hsetnx(name, "digest", cast(str, digest))
        pipe.expire(name, running_s, nx=True)
        pipe.hgetall(name)
        is_first, _, stored = await pipe.execute()
        return None if is_first else cast("dict[bytes, bytes]", stored)

    async def _carry_out(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        kept = _Kept()

        async def keep_and_send(message: Message) -> None:
            kept.add(message)
            if kept.is_over:
                await self._settle(name, kept)
            await send(message)

        try:
            await self._app(scope, receive, keep_and_send)
        finally:
            if not kept.is_over:
                await self._settle(name, kept)

    async def _settle(self, name: str, kept: _Kept) -> None:
        client = self._gateway().journal.redis
        try:
            if kept.is_final:
                pipe = client.pipeline(transaction=True)
                pipe.hset(name, items=kept.items())
                pipe.expire(name, _KEPT_S)
                for completion_id in kept.completion_ids():
                    pipe.sadd(keys.replays(completion_id), name)
                    pipe.expire(keys.replays(completion_id), _KEPT_S)
                await pipe.execute()
            else:
                await client.delete(name)
        except _AWAY as error:
            log.warning("an answer is not kept for its Idempotency-Key: %s", error)


class _Kept:
    """An answer on its way to the client."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._is_too_large = False
        self.is_over = False

    def add(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(n, v) for n, v in message.get("headers", ()) if n in _HEADERS]
            return
        body = message.get("body", b"")
        if len(self._body) + len(body) > _MAX_KEPT_BYTES:
            self._is_too_large = True
        else:
            self._body += body
        self.is_over = not message.get("more_body", False)

    @property
    def is_final(self) -> bool:
        """Whether a repetition is to get this answer."""
        is_stream = (b"content-type", b"text/event-stream; charset=utf-8") in self._headers
        is_whole = self.is_over and not self._is_too_large
        if is_stream and not self._body.endswith(b"data: [DONE]\n\n"):
            return False
        return is_whole and self._status < 500 and self._status not in _PASSING

    def completion_ids(self) -> set[str]:
        """The chat completions whose text it holds: whoever erases one erases this as well."""
        return {found.decode() for found in _COMPLETION_ID.findall(bytes(self._body))}

    def items(self) -> list[Any]:
        """Names and values for Redis, in turn."""
        headers = [(n.decode(), v.decode("latin-1")) for n, v in self._headers]
        return [
            *("status", self._status),
            *("headers", orjson.dumps(headers)),
            *("body", bytes(self._body)),
        ]


def _asked_key(scope: Scope) -> bytes | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    if not scope["path"].startswith(_PATHS):
        return None
    return dict(scope["headers"]).get(b"idempotency-key")


async def _replay(stored: dict[bytes, bytes], digest: bytes, send: Send) -> None:
    if stored[b"digest"] != digest:
        raise Unprocessable(
            "this Idempotency-Key was used with another request; take a new key",
            code="idempotency_key_reused",
        )
    if b"status" not in stored:
        raise InProgress(
            "the first request with this Idempotency-Key is still being answered",
            retry_after_s=1,
        )
    headers = [(n.encode(), v.encode("latin-1")) for n, v in orjson.loads(stored[b"headers"])]
    headers.append((b"idempotent-replayed", b"true"))
    headers.append((b"content-length", str(len(stored[b"body"])).encode()))
    start = {"type": "http.response.start", "status": int(stored[b"status"]), "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": stored[b"body"], "more_body": False})
