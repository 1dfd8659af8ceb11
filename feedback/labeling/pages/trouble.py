"""What a browser is told when something goes wrong: a page that keeps what was sent, not JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from feedback.errors import HoneError, Unavailable
from feedback.journal import AWAY
from feedback.labeling.pages.templates import page

log = logging.getLogger(__name__)


class PageRoute(APIRoute):
    """A route whose errors are pages; for a script, the JSON that all routes answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except HoneError as error:
                return await tell(request, error)
            except AWAY as error:
                log.warning("redis did not do its part of %s: %s", request.url.path, error)
                away = Unavailable("The store is away for a moment.", retry_after_s=2)
                return await tell(request, away)

        return handled


def wants_json(request: Request) -> bool:
    """Whether a script of ours asks."""
    return "application/json" in request.headers.get("accept", "")


async def tell(request: Request, error: HoneError) -> Response:
    """A page with the error; a form can be sent again from it, as it was."""
    if wants_json(request):
        return JSONResponse(error.body(), status_code=error.status, headers=error.headers())
    sent = [
        (name, value)
        for name, value in (await request.form()).multi_items()
        if isinstance(value, str)
    ]
    return page(
        "trouble.html",
        status=error.status,
        message=sentence(error),
        action=request.url.path,
        sent=[(name, value) for name, value in sent if name != "password"],
    )


def sentence(error: HoneError) -> str:
    """What it says, as people write."""
    said = error.message[:1].upper() + error.message[1:]
    return said if said.endswith((".", "?", "!")) else f"{said}."
