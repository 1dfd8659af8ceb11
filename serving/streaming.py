"""Server-sent events of an engine on their way to a client.

1. Each chunk gets our id and the concrete version, and loses what only the log asked for.
2. Moderation reads along, window by window, before a window goes out (holding.py). A text that it
   blocks ends with `finish_reason: content_filter`; where the key allows everything nothing waits.
3. At the end: what moderation says, where that was asked for; the log; then `[DONE]`.

A stream that breaks says `data: {"error": …}` and never `[DONE]`; a client that leaves stops the
engine. Either way what there is goes into the log as incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from feedback.errors import HoneError, Unavailable
from serving.exchange import Exchange
from serving.holding import Hold, Window
from serving.screening import AWAY
from serving.upstream import Upstream

log = logging.getLogger(__name__)

Write = Callable[[bytes], Awaitable[None]]


class EventStream(Response):
    """An answer that is written as it comes, and cancelled when the client leaves."""

    media_type = "text/event-stream"

    def __init__(
        self,
        write_all: Callable[[Write], Awaitable[None]],
        *,
        headers: Mapping[str, str],
        on_end: Callable[[], None],
    ) -> None:
        self._write_all = write_all
        self._on_end = on_end
        self.status_code = 200
        self.background = None
        # x-should-retry: sampling has begun, so a client must not ask twice by itself.
        manners = {
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "x-should-retry": "false",
        }
        self.init_headers({**headers, **manners})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await send(
                {"type": "http.response.start", "status": 200, "headers": list(self.raw_headers)}
            )
            await until_disconnect(receive, self._write_all(write))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._on_end()


async def until_disconnect(receive: Receive, work: Awaitable[Any]) -> Any:
    """The result of the work; None, and the work cancelled, when the client leaves first."""
    working = asyncio.current_task()
    assert working is not None
    has_left = False

    def leave(_: object) -> None:
        nonlocal has_left
        if not watching.cancelled():
            has_left = working.cancel()

    watching = asyncio.ensure_future(_disconnect(receive))
    watching.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and working.uncancel() == 0:
            return None
        raise
    finally:
        watching.remove_done_callback(leave)
        watching.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Relay:
    """One stream, from its engine to its client."""

    def __init__(self, exchange: Exchange, upstream: Upstream, *, window: Window) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._window = window
        self._has_begun = False
        self._began_s = 0.0  # when the first token came, after the request

    async def run(self, write: Write) -> None:
        """Write the whole answer. Logs it, however it ends."""
        exchange, upstream = self._exchange, self._upstream
        try:
            usage = await (self._screen if exchange.is_screened else self._forward)(write)
            exchange.count_usage(usage)
            exchange.count_latency()
            self._count_pace()
            await exchange.log(upstream)
            await write(b"data: [DONE]\n\n")
        except HoneError as error:
            why = "moderation" if error.error_code == AWAY else "engine"
            self._count_broken(why)
            upstream.close()
            await self._log_broken(why)
            await write(b"data: " + orjson.dumps(error.body()) + b"\n\n")
        except asyncio.CancelledError:
            self._count_broken("client")
            upstream.close()
            await self._log_broken("client")
            raise
        finally:
            upstream.close()

    async def _forward(self, write: Write) -> dict[str, Any] | None:
        """Pass chunks on as they come. Returns the usage, where it came."""
        usage: dict[str, Any] | None = None
        async with contextlib.aclosing(self._upstream.events()) as batches:
            async for chunks in batches:
                if not self._has_begun:
                    self._begin(chunks[0])
                for chunk in chunks:
                    usage = chunk.get("usage") or usage
                    for choice in chunk["choices"]:
                        self._exchange.shape.take(self._exchange.drafts[choice["index"]], choice)
                await self._write(chunks, write)
        return usage

    async def _screen(self, write: Write) -> dict[str, Any] | None:
        """The same, but nothing goes out before moderation has read it."""
        usage: dict[str, Any] | None = None
        last: list[dict[str, Any]] = []  # chunks without a choice: they close the stream
        hold = Hold(self._exchange, release=partial(self._write, write=write), window=self._window)
        try:
            async with contextlib.aclosing(self._upstream.events()) as batches:
                async for chunks in batches:
                    if not self._has_begun:
                        self._begin(chunks[0])
                    for chunk in chunks:
                        usage = chunk.get("usage") or usage
                    last += [chunk for chunk in chunks if not chunk["choices"]]
                    await hold.add([chunk for chunk in chunks if chunk["choices"]])
                    if all(draft.is_blocked for draft in self._exchange.drafts):
                        break  # nothing more can reach the client, so the engine need not go on
            await hold.finish()
        except HoneError:
            with contextlib.suppress(HoneError):  # the first error is the one to tell
                await hold.finish()  # what came before the engine broke off is the client's
            raise
        finally:
            await hold.close()
        if (moderation := self._exchange.moderation()) is not None:
            about = {"object": self._exchange.shape.chunk, "choices": [], "moderation": moderation}
            await write(self._event(about))
        await self._write(last, write)
        return usage

    async def _write(self, chunks: list[dict[str, Any]], write: Write) -> None:
        """Chunks that came together go together."""
        if lines := b"".join([line for chunk in chunks if (line := self._line(chunk))]):
            await write(lines)

    def _begin(self, chunk: dict[str, Any]) -> None:
        exchange = self._exchange
        self._has_begun, self._began_s = True, exchange.elapsed_s
        exchange.first_token_ms = self._began_s * 1e3
        exchange.prompt_ids = exchange.shape.prompt_ids(chunk)
        labels = (exchange.shape.name, exchange.target.version)
        exchange.metrics.first_token.labels(*labels).observe(self._began_s)
        exchange.span.event("first_token")

    def _count_pace(self) -> None:
        exchange = self._exchange
        num_tokens = max(len(draft.token_ids) for draft in exchange.drafts)
        if num_tokens > 1:
            pace_s = (exchange.elapsed_s - self._began_s) / (num_tokens - 1)
            labels = (exchange.shape.name, exchange.target.version)
            exchange.metrics.per_token.labels(*labels).observe(pace_s)

    def _line(self, chunk: dict[str, Any]) -> bytes | None:
        """A chunk as the client sees it; None where nothing is left of it."""
        exchange = self._exchange
        has_usage = exchange.asked.wants_usage
        seen = [shown for choice in chunk["choices"] if (shown := self._seen(choice)) is not None]
        if not seen and (chunk["choices"] or not has_usage):
            return None
        line: dict[str, Any] = {"object": chunk["object"], "choices": seen}
        if has_usage:
            line["usage"] = chunk.get("usage")
        return self._event(line)

    def _event(self, line: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps(self._exchange.stamp(line)) + b"\n\n"

    def _seen(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        draft = self._exchange.drafts[choice["index"]]
        if not draft.is_blocked:
            wants = self._exchange.asked.wants_logprobs
            return self._exchange.shape.for_client(choice, wants_logprobs=wants)
        if draft.is_withheld:
            return None
        draft.is_withheld = True  # said once
        draft.finish_reason = "content_filter"
        return self._exchange.shape.withheld(draft, choice)

    def _count_broken(self, why: str) -> None:
        self._exchange.metrics.streams_broken.labels(self._exchange.target.version, why).inc()
        self._exchange.span.fail(f"broken_by_{why}", is_fault=why != "client")

    async def _log_broken(self, why: str) -> None:
        try:
            await self._exchange.log(self._upstream, broken_by=why)
        except Unavailable as error:
            log.error("a broken stream is not in the log: %s", error.message)
