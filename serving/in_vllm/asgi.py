"""The little of ASGI that a middleware inside another server needs."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Receive, Scope, Send

from feedback.errors import BadRequest


def header(scope: Scope, name: str) -> str | None:
    """A request header; `name` in lower case."""
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key == wanted:
            return bytes(value).decode("latin-1")
    return None


async def json_body(receive: Receive) -> dict[str, Any]:
    """The whole body as a JSON object. Raises BadRequest."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(parsed, dict):
        raise BadRequest("the body is no JSON object")
    return parsed


async def reply(send: Send, status: int, body: dict[str, Any]) -> None:
    """One whole JSON response."""
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
