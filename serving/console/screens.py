"""What all screens have in common: who looks, what is told, and what a failure looks like: a page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from feedback.errors import HoneError
from feedback.html import see
from serving.console.pages import page
from serving.console.sessions import LoginNeeded, Operator
from serving.refresh import AWAY

log = logging.getLogger(__name__)

# What a form came to, by the `done` that it sends the browser back with.
DONE = {
    "rolled-back": "Rolled back: the version before answers now.",
    "promoted": "Promoted: the version answers now.",
    "paused": "Learning is paused: no round starts.",
    "resumed": "Learning goes on: rounds may start.",
    "requested": "A round was asked for; it starts when none is under way.",
    "canary-begun": "The canary answers its share of the people.",
    "canary-held": "The canary goes on until you decide; harm still ends it.",
    "canary-aborted": "The canary is over: production answers everybody.",
    "cancelled": "The round is being cancelled.",
    "retried": "The round goes on where it was.",
    "overridden": "The gate is overridden: the round goes on to publish what it made.",
    "moderation-changed": "Every moderation server takes it up within a second.",
}


class Screen(APIRoute):
    """A route whose errors are pages. Who is not logged in is asked to be."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_with_pages(request: Request) -> Response:
            try:
                return await handle(request)
            except LoginNeeded:
                wanted = request.url.path if request.method == "GET" else ""
                return see(f"/console?next={quote(wanted)}" if wanted else "/console")
            except HoneError as error:
                return _trouble(error.status, error.message)
            except AWAY as error:
                log.warning("redis is away, a screen is not shown: %s", error)
                return _trouble(503, "Redis does not answer at the moment; the page needs it.")

        return handle_with_pages


def show(
    request: Request,
    operator: Operator,
    template: str,
    *,
    section: str,
    every_s: int | None = None,
    **values: Any,
) -> Response:
    """A screen. `every_s`: its live parts are looked at again so often."""
    done = DONE.get(request.query_params.get("done", ""))
    return page(template, operator=operator, section=section, every_s=every_s, done=done, **values)


def _trouble(status: int, message: str) -> Response:
    return page("trouble.html", status=status, operator=None, message=message, number=status)
