"""Pages from web/, and their style sheet."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from feedback.html import Templates

_STYLE = files("serving.console").joinpath("web/console.css").read_bytes()
_VERSION = hashlib.sha256(_STYLE).hexdigest()[:12]

page = Templates("serving.console", style=f"/console/static/{_VERSION}/console.css").page


def build_router() -> APIRouter:
    """The style sheet."""
    router = APIRouter(include_in_schema=False)

    @router.get("/console/static/{version}/console.css")
    async def style(version: str) -> Response:
        kept = "max-age=31536000, immutable" if version == _VERSION else "no-cache"
        headers = {"cache-control": kept, "x-content-type-options": "nosniff"}
        return Response(_STYLE, media_type="text/css", headers=headers)

    return router
