"""Forms that change something: who sends it may, a reason is given where one is asked for, and the browser is sent
back to a page that says what came of it. They work without scripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from feedback.errors import Unprocessable
from feedback.html import see
from serving.console.screens import Screen
from serving.console.sessions import Operators
from serving.gateway import Gateway

_MAX_CHARS = 512  # what the API takes of a reason


@dataclass(frozen=True, kw_only=True)
class Said:
    """What an operator's form says."""

    actor: str  # id of their key
    at: Mapping[str, str]  # of the path
    fields: FormData

    def text(self, name: str) -> str:
        """A field, empty where it was left so."""
        return str(self.fields.get(name, "")).strip()[:_MAX_CHARS]

    @property
    def reason(self) -> str:
        """Raises Unprocessable where none is given."""
        if not (reason := self.text("reason")):
            raise Unprocessable("say why: the reason stays in the audit log", param="reason")
        return reason


@dataclass(frozen=True, kw_only=True)
class Form:
    """A path to post to, what it calls, and where the browser goes then."""

    path: str
    change: Callable[[Gateway, Said], Awaitable[object]]
    back: str  # with names of the path's parts in it


def build_router(
    gateway: Callable[[], Gateway], operators: Operators, forms: Sequence[Form]
) -> APIRouter:
    """POST routes under /console."""
    router = APIRouter(include_in_schema=False, route_class=Screen)
    for form in forms:
        router.add_api_route(form.path, _handler(form, gateway, operators), methods=["POST"])
    return router


def _handler(
    form: Form, gateway: Callable[[], Gateway], operators: Operators
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        operator, fields = await operators.changing(request)
        at = {name: str(value) for name, value in request.path_params.items()}
        await form.change(gateway(), Said(actor=operator.key.id, at=at, fields=fields))
        return see(form.back.format(**at))

    return handle
