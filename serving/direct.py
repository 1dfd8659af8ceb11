"""The routes of the data path and of judgements, called without FastAPI in between, which wraps every
request five times and every write of a stream twice. FastAPI's own routes of the same paths
remain for the documentation; they call the same functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from feedback.errors import HoneError
from serving.edge import respond, store_away

Endpoint = Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI: a POST to one of these paths goes to its endpoint, all else to the application."""

    def __init__(self, app: ASGIApp, *, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except HoneError as error:
            response = respond(error)
        except redis.RedisError as error:
            response = respond(store_away(scope["path"], error))
        await response(scope, receive, send)
