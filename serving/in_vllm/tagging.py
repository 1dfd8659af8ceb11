"""An answer on its way out says which version made its first token, and which its last."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Send

from serving.engines import FIRST_HEADER, LAST_HEADER, VERSION_COMMENT


def tagged(send: Send, tags: Callable[[], tuple[str, str]]) -> Send:
    """`send` with headers; a stream's last version is a comment after its last chunk. `tags` is asked
    when each is sent: weights may change meanwhile."""
    is_stream = False

    async def tagging_send(message: Message) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            is_stream = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in headers
            )
            first, last = tags()
            headers.append((FIRST_HEADER.encode(), first.encode()))
            if not is_stream:
                headers.append((LAST_HEADER.encode(), last.encode()))
            message = {**message, "headers": headers}
        elif is_stream and not message.get("more_body", False):
            first, last = tags()
            comment = VERSION_COMMENT + f"{first} {last}\n\n".encode()
            message = {**message, "body": message.get("body", b"") + comment}
        await send(message)

    return tagging_send
