"""Pages from web/, their style sheet and scripts."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from feedback.html import TOKENS, Templates
from serving.console.words import KNOWN

_FOREVER = "max-age=31536000, immutable"

_web = files("serving.console").joinpath("web")
_ASSETS = {
    file.name: file.read_bytes() for file in _web.iterdir() if file.name.endswith((".css", ".js"))
}
_ASSETS = {name: TOKENS + data if name.endswith(".css") else data for name, data in _ASSETS.items()}
# In the path, so that a module's imports name the same version as the page does.
_VERSION = hashlib.sha256(b"".join(_ASSETS[name] for name in sorted(_ASSETS))).hexdigest()[:12]

SCREENS = (
    ("Overview", "/console"),
    ("Policies", "/console/policies"),
    ("Canary", "/console/canary"),
    ("Moderation", "/console/moderation"),
    ("Reward models", "/console/rewards"),
    ("Labeling", "/console/labeling"),
    ("Runs", "/console/runs"),
    ("Engines", "/console/engines"),
    ("Audit", "/console/audit"),
    ("Settings", "/console/settings"),
)

page = Templates(
    "serving.console", static=f"/console/static/{_VERSION}", screens=SCREENS, **KNOWN
).page


def build_router() -> APIRouter:
    """Style sheet and scripts."""
    router = APIRouter(include_in_schema=False)

    @router.get("/console/static/{version}/{name}")
    async def asset(version: str, name: str) -> Response:
        if name not in _ASSETS:
            return Response(status_code=404)
        kind, _ = mimetypes.guess_type(name)
        kept = _FOREVER if version == _VERSION else "no-cache"
        headers = {"cache-control": kept, "x-content-type-options": "nosniff"}
        return Response(_ASSETS[name], media_type=kind, headers=headers)

    return router
