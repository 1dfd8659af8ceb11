"""What every request passes: its size is bounded, it gets an id and a time, errors OpenAI's shape.

Pure ASGI: Starlette's BaseHTTPMiddleware would sit between a stream and its client.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import redis
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback.errors import BadRequest, HoneError, NotFound, TooLarge, Unavailable
from feedback.events import new_id
from serving import logs

log = logging.getLogger(__name__)

_VALID_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_EXTRA = "hone.headers"


class Edge:
    """Outermost of ours. Reads the whole body, since all of them are small, and hands it on."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        asked_id = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = asked_id if _VALID_ID.fullmatch(asked_id) else new_id("req_")
        extra: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id.encode())]
        scope[_EXTRA] = extra
        logs.bind(request_id=request_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                elapsed_ms = (time.perf_counter() - started) * 1e3
                took = (b"openai-processing-ms", str(int(elapsed_ms)).encode())
                message["headers"] = [*message.get("headers", []), *extra, took]
            await send(message)

        try:
            body = await self._read(headers, receive)
        except TooLarge as error:
            await respond(error)(scope, receive, send_with_headers)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send_with_headers)

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The body; None when the client left while sending it. Raises TooLarge."""
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large()
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return body

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a request body has at most {self._max_body_bytes} bytes here")


def add_headers(scope: Scope, headers: Mapping[str, str]) -> None:
    """Headers for the answer to this request, whatever it will be, an error included."""
    scope[_EXTRA] += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def install(app: FastAPI) -> None:
    """Every error in OpenAI's shape, FastAPI's and Starlette's own included."""

    @app.exception_handler(HoneError)
    async def of_ours(request: Request, error: HoneError) -> Response:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return respond(BadRequest(f"the body is no JSON: {first['ctx']['error']}"))
        where = ".".join(str(step) for step in first["loc"] if step not in ("body", "query"))
        body = _shape(f"{where or 'the body'}: {first['msg']}", param=where or None)
        return JSONResponse(body, status_code=422, headers={"x-should-retry": "false"})

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return respond(NotFound(f"there is no {request.method} {request.url.path}"))
        code = {405: "method_not_allowed"}.get(error.status_code)
        return JSONResponse(
            _shape(str(error.detail), code=code),
            status_code=error.status_code,
            headers={**(error.headers or {}), "x-should-retry": "false"},
        )

    @app.exception_handler(redis.RedisError)
    async def of_redis(request: Request, error: redis.RedisError) -> Response:
        return respond(store_away(request.url.path, error))

    @app.exception_handler(Exception)
    async def of_anything(request: Request, error: Exception) -> Response:
        # The process's edge: Starlette logs the traceback; the client gets a shape it can read.
        return respond(HoneError("something went wrong here; the operator's log has the reason"))


def _shape(message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def store_away(path: str, error: redis.RedisError) -> Unavailable:
    """What a request that needs Redis is answered while it is away."""
    log.warning("redis did not do its part of %s: %s", path, error)
    return Unavailable("the store is away; try again soon", retry_after_s=2)


def respond(error: HoneError) -> JSONResponse:
    """The answer that an error is."""
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers())


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body once, then what the server says (that the client left)."""
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
