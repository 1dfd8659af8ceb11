"""The page at `/`, its files, and the token with which it calls the public API."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from feedback.errors import Forbidden, HoneError, NotFound
from feedback.html import TOKENS
from serving import auth
from serving.gateway import Gateway
from serving.playground.visits import COOKIE_S, TOKEN_S, Visits
from serving.settings import ServingSettings

_COOKIE = "hone_visitor"
_HEADERS = {
    # As strict as the labeler's page; beyond it, scripts cannot turn text into markup at all.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


class KeyNeeded(Forbidden):
    """This playground gives no tokens, or not to this visitor."""

    code = "api_key_needed"


def build_router(gateway: Callable[[], Gateway], settings: ServingSettings) -> APIRouter:
    """Routes / and /playground/*."""
    router = APIRouter(include_in_schema=False)
    visits = Visits(secret=settings.engine_token)
    page = "off.html" if settings.playground == "off" else "index.html"

    @router.get("/")
    async def index() -> Response:
        return HTMLResponse(_file(page), headers={**_HEADERS, "cache-control": "no-cache"})

    @router.get("/playground/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name not in _assets():
            raise NotFound(f"there is no {request.url.path}")
        etag = f'"{_assets()[name]}"'
        headers = {"cache-control": "no-cache", "etag": etag, "x-content-type-options": "nosniff"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(_file(name), media_type=_TYPES[name.rpartition(".")[2]], headers=headers)

    @router.post("/playground/session")
    async def session(request: Request) -> Response:
        if settings.playground == "off":
            raise NotFound("there is no playground here")
        _require_own_page(request)
        if not _is_open(settings, request):
            raise KeyNeeded("this playground asks for an API key; the operator gives you one")
        now = time.time()
        visitor = visits.unseal(request.cookies.get(_COOKIE), "cookie", now=now) or visits.begin()
        await _require_account(gateway(), visitor)
        body = {
            "object": "playground.session",
            "visitor": visitor,
            "token": visits.seal(visitor, "token", ends=now + TOKEN_S),
            "expires_in": TOKEN_S,
        }
        response = JSONResponse(body, status_code=201, headers={"cache-control": "no-store"})
        response.set_cookie(
            _COOKIE,
            visits.seal(visitor, "cookie", ends=now + COOKIE_S),
            max_age=COOKIE_S,
            path="/playground/session",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    return router


def _require_own_page(request: Request) -> None:
    """Raises Forbidden for what is sent by a page of another site. Browsers say where a request comes
    from; Sec-Fetch-Site is left out where a page came over plain HTTP from another machine."""
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    is_ours = site == "same-origin" if site else origin == request.headers.get("host")
    if not is_ours:
        raise Forbidden("only the playground's own page may ask for this", code="other_origin")


def _is_open(settings: ServingSettings, request: Request) -> bool:
    """Whether visitors come in without a key. What the browser calls this server is looked at as well:
    a proxy on this machine, or a name that was rebound to it, is no loopback address."""
    if settings.playground != "auto":
        return settings.playground == "open"
    origin = urlsplit(request.headers.get("origin", "")).hostname or ""
    return all(map(_is_loopback, (settings.host, origin, request.url.hostname or "")))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _require_account(gateway: Gateway, visitor: str) -> None:
    """Have the playground's key. Raises Forbidden once it was revoked."""
    try:
        await gateway.authenticator.visiting(visitor)
    except HoneError:
        if await asyncio.to_thread(auth.playground_key, gateway.redis) is None:
            raise KeyNeeded(
                "the operator has closed this playground; with an API key you can still use it"
            ) from None


@cache
def _assets() -> dict[str, str]:
    """Names of the files that anybody may read, and their digests."""
    return {
        name: hashlib.sha256(_file(name)).hexdigest()[:16]
        for name in (entry.name for entry in files("serving.playground").joinpath("web").iterdir())
        if name.rpartition(".")[2] in _TYPES
    }


@cache
def _file(name: str) -> bytes:
    data = files("serving.playground").joinpath("web", name).read_bytes()
    return TOKENS + data if name.endswith(".css") else data
