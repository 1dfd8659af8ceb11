"""The moderation server: OpenAI's POST /v1/moderations over the backend that is set.

A request, in the order of `Moderator.answer`:
1. take it, unless too many are in work
2. read the body, up to a limit
3. have its texts scored by the backend
4. flag what reaches its threshold
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from feedback.errors import BadRequest, HoneError, NotFound, TooLarge, Unavailable
from moderation import policy, wire
from moderation.backends import chosen
from moderation.backends.backend import Backend, Judged
from moderation.categories import CATEGORIES
from moderation.metrics import Metrics
from moderation.settings import ModerationSettings

if TYPE_CHECKING:
    from moderation.follow import Follower


class Moderator:
    """The state of one server: the backend, and what is in work."""

    def __init__(self, settings: ModerationSettings, *, backend: Backend) -> None:
        self.settings = settings
        self.backend = backend
        self.flags = chosen.flags(backend, settings)
        self.metrics = Metrics()
        self._num_pending = 0

    def put(self, backend: Backend) -> None:
        """Another version answers from the next request on. Its categories are the same."""
        self.backend = backend

    async def answer(self, request: Request) -> dict[str, Any]:
        """OpenAI's response object. Raises BadRequest, NotFound, TooLarge, Unavailable."""
        if self._num_pending >= self.settings.max_pending:
            raise Unavailable("Moderation has more work than it can do now.", retry_after_s=1)
        self._num_pending += 1
        self.metrics.pending.inc()
        try:
            return await self._answer(request)
        finally:
            self._num_pending -= 1
            self.metrics.pending.dec()

    async def _answer(self, request: Request) -> dict[str, Any]:
        asked = wire.parse(await _body(request, limit=self.settings.max_body_bytes))
        texts = wire.texts(
            asked, max_inputs=self.settings.max_inputs, max_chars=self.settings.max_chars
        )
        backend = self.backend  # one version for the whole answer
        shape = wire.shape(asked.model, own=backend.model)
        judged = await backend.score(texts)
        self.metrics.texts.inc(len(judged))
        self.metrics.windows.inc(sum(one.num_windows for one in judged))
        results = [
            wire.result(one.scores, flagged=self._flagged(one), shape=shape) for one in judged
        ]
        return wire.answer(results, model=backend.model)

    def _flagged(self, judged: Judged) -> list[str]:
        names = policy.over(judged.scores, limits=self.flags)
        if judged.flagged is not None:
            own = self.settings.flag  # an operator's threshold goes before the backend's word
            names = [
                name for name in judged.scores if name in (names if name in own else judged.flagged)
            ]
        for name in names:
            self.metrics.flagged.labels(name).inc()
        return names


def create_app(settings: ModerationSettings | None = None) -> FastAPI:
    """The server with its backend loaded. Raises Refused where that cannot be loaded."""
    settings = settings or ModerationSettings()
    moderator = Moderator(settings, backend=chosen.load(settings))
    follower = _follower(settings, moderator)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if follower is not None:
            await follower.start()
        yield
        if follower is not None:
            await follower.close()
        await moderator.backend.close()

    app = FastAPI(title="hone moderation", lifespan=lifespan)
    app.add_exception_handler(HoneError, _on_hone_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)
    _add_routes(app, moderator)
    return app


def _follower(settings: ModerationSettings, moderator: Moderator) -> Follower | None:
    if not settings.redis_url or settings.backend != "onnx":
        return None
    from moderation import follow  # other backends need none of what it loads

    return follow.of(
        settings.redis_url, moderator.backend, put=moderator.put, metrics=moderator.metrics
    )


def _add_routes(app: FastAPI, moderator: Moderator) -> None:
    @app.post("/v1/moderations")
    async def moderations(request: Request) -> Response:
        """Scores of one text or a list of texts."""
        started = time.perf_counter()
        status = 500
        try:
            content = await moderator.answer(request)
            status = 200
        except HoneError as error:
            status = error.status
            raise
        finally:
            moderator.metrics.requests.labels(str(status)).inc()
            moderator.metrics.seconds.observe(time.perf_counter() - started)
        return JSONResponse(content)

    @app.get("/v1/moderations/categories")
    async def categories() -> dict[str, Any]:
        """Which categories are scored, and from which score they are flagged (null: never)."""
        data = [
            {
                "id": name,
                "scored": name in moderator.backend.scored,
                "threshold": moderator.flags.get(name),
            }
            for name in CATEGORIES
        ]
        return {"object": "list", "model": moderator.backend.model, "data": data}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The backend is loaded and the loop turns."""
        return {"status": "ok", "model": moderator.backend.model}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(moderator.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _body(request: Request, *, limit: int) -> bytes:
    parts = bytearray()
    try:
        async for part in request.stream():
            parts += part
            if len(parts) > limit:
                raise TooLarge(f"The body is over {limit} bytes: send several requests.")
    except ClientDisconnect as error:
        raise BadRequest("The connection ended before the body did.") from error
    return bytes(parts)


async def _on_hone_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HoneError)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers())


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    # FastAPI's own 404 and 405 are not in OpenAI's shape.
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        shaped: HoneError = NotFound(f"{request.url.path} is not a route of the moderation server.")
    else:
        shaped = BadRequest(str(error.detail))
    return JSONResponse(
        shaped.body(), status_code=error.status_code, headers=dict(error.headers or {})
    )


async def _on_bug(_: Request, error: Exception) -> JSONResponse:
    # The process's edge: Starlette raises the error on into the log; the client gets its shape.
    bug = HoneError("Moderation failed on this request; the server's log says why.")
    return JSONResponse(bug.body(), status_code=bug.status, headers=bug.headers())
