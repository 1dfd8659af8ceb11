"""One answer of an engine, opened: its status judged, its versions read, its events taken apart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import orjson

from feedback.errors import BadRequest, HoneError, Refused, Unavailable
from serving.engines import FIRST_HEADER, LAST_HEADER, VERSION_COMMENT
from serving.routing import Target

_BROKEN = (aiohttp.ClientError, asyncio.TimeoutError)
# Of a stream, taken apart at a time. As objects they need ten times as much, and that is what a
# client that does not read makes us hold.
_READ_BYTES = 1 << 14


class Upstream:
    """Either `json()` or `events()` is read, once; `close()` ends the engine's work on it."""

    def __init__(
        self, response: aiohttp.ClientResponse, *, target: Target, on_close: Callable[[bool], None]
    ) -> None:
        self.target = target  # what was asked of the engine
        self._response = response
        self._on_close: Callable[[bool], None] | None = on_close  # told whether the engine failed
        self._has_failed = False
        self._began = time.monotonic()
        self._given_s = 0.0  # how long who reads us was busy with what it had got
        self._first = b""
        self.is_done = False  # the engine said [DONE]
        self.version: str | None = response.headers.get(FIRST_HEADER)
        self.version_last: str | None = response.headers.get(LAST_HEADER)

    async def begin(self) -> None:
        """Wait for a good answer: all of it, or the first bytes of a stream. Raises what a bad one
        means."""
        if self._response.status != 200:
            error = await _error(self._response)
            self._has_failed = isinstance(error, Unavailable)
            raise error
        is_stream = self._response.content_type == "text/event-stream"
        content = self._response.content
        try:
            self._first = await (content.read(_READ_BYTES) if is_stream else content.read())
        except _BROKEN as error:
            raise self._failed(f"broke off: {type(error).__name__}") from error
        if not self._first or self._first.startswith(b'data: {"error"'):
            raise self._failed("ended without an answer")

    def json(self) -> dict[str, Any]:
        """The answer, where it is no stream."""
        answer: dict[str, Any] = orjson.loads(self._first)
        return answer

    async def events(self) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The chunks of a stream, as many at a time as came together. Raises Unavailable when the
        stream breaks, or carries an error."""
        rest = b""
        data = self._first
        try:
            while data:
                *blocks, rest = (rest + data).split(b"\n\n")
                if chunks := [c for block in blocks if (c := self._chunk(block)) is not None]:
                    given = time.monotonic()
                    yield chunks
                    self._given_s += time.monotonic() - given
                data = await self._response.content.read(_READ_BYTES)
        except _BROKEN as error:
            if isinstance(error, asyncio.TimeoutError) and self._is_reader_slow():
                raise Unavailable("this answer was read too slowly; time is up") from error
            raise self._failed(f"broke off: {type(error).__name__}") from error
        if not self.is_done:
            raise self._failed("ended in the middle of an answer")

    def close(self) -> None:
        """Break the connection off unless the answer was read to its end. Repeating is harmless."""
        self._response.close()
        if self._on_close is not None:
            self._on_close(self._has_failed)
            self._on_close = None

    def _is_reader_slow(self) -> bool:
        """A client that hardly reads uses up the time of an answer: no reason to spare the engine."""
        return self._given_s > (time.monotonic() - self._began) / 2

    def _chunk(self, block: bytes) -> dict[str, Any] | None:
        if block.startswith(VERSION_COMMENT):
            first, last = block[len(VERSION_COMMENT) :].decode().split()
            self.version, self.version_last = first, last
            return None
        if not block.startswith(b"data: "):
            return None
        if block == b"data: [DONE]":
            self.is_done = True
            return None
        chunk: dict[str, Any] = orjson.loads(block[6:])
        if "error" in chunk:
            raise self._failed(f"failed: {chunk['error'].get('message')}")
        return chunk

    def _failed(self, how: str) -> Unavailable:
        self._has_failed = True
        return Unavailable(f"the engine {how}", retry_after_s=5)


async def _error(response: aiohttp.ClientResponse) -> HoneError:
    """What a status other than 200 means to the one who asked."""
    try:
        raw = await response.read()
        error = json.loads(raw)["error"]
        message, code = str(error["message"]), error.get("code")
    except (*_BROKEN, ValueError, KeyError, TypeError):
        message, code = f"the engine answered {response.status}", None
    if response.status in (404, 409):
        return Refused(message, code=code if isinstance(code, str) else None)
    if response.status in (400, 413, 422):
        is_long = "context length" in message or "max_model_len" in message
        return BadRequest(message, code="context_length_exceeded" if is_long else None)
    return Unavailable(message, retry_after_s=5)
