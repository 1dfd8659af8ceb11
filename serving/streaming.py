"""Server-sent events of an engine on their way to a client.

1. Each chunk gets our id and the concrete version, and loses what only the log asked for.
2. Moderation reads along: every 200 characters, and before a candidate may end. A text that it
   blocks ends with `finish_reason: content_filter`.
3. At the end: the log first, then `[DONE]`.

A stream that breaks says `data: {"error": …}` and never `[DONE]`; a client that leaves stops the
engine. Either way what there is goes into the log as incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from feedback.errors import HoneError, Unavailable
from serving.candidates import Draft
from serving.exchange import Exchange
from serving.upstream import Upstream

log = logging.getLogger(__name__)

_SCREEN_EVERY_CHARS = 200
_OVERLAP_CHARS = 200  # read again, so that nothing hides across the border of two looks

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

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._read = [0] * len(exchange.drafts)  # characters that moderation has seen
        self._has_begun = False
        self._began_s = 0.0  # when the first token came, after the request

    async def run(self, write: Write) -> None:
        """Write the whole answer. Logs it, however it ends."""
        exchange, upstream = self._exchange, self._upstream
        try:
            usage = await self._forward(write)
            exchange.count_usage(usage)
            exchange.count_latency()
            self._count_pace()
            await exchange.log(upstream, is_complete=True)
            await write(b"data: [DONE]\n\n")
        except HoneError as error:
            self._count_broken("engine")
            upstream.close()
            await self._log_broken()
            await write(b"data: " + orjson.dumps(error.body()) + b"\n\n")
        except asyncio.CancelledError:
            self._count_broken("client")
            upstream.close()
            await self._log_broken()
            raise
        finally:
            upstream.close()

    async def _forward(self, write: Write) -> dict[str, Any] | None:
        """Pass chunks on until all candidates have ended. Returns the usage, where it came."""
        usage: dict[str, Any] | None = None
        async with contextlib.aclosing(self._upstream.events()) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    usage = chunk.get("usage") or usage
                await self._forward_batch(chunks, write)
                if all(draft.is_blocked for draft in self._exchange.drafts):
                    break  # nothing more can reach the client, so the engine need not go on
        return usage

    async def _forward_batch(self, chunks: list[dict[str, Any]], write: Write) -> None:
        """Chunks that came together go together, but none waits for moderation of a later one."""
        out: list[bytes] = []
        for chunk in chunks:
            if not self._has_begun:
                self._begin(chunk)
            due = [d for choice in chunk["choices"] if (d := self._take(choice)) is not None]
            if due:
                if out:
                    await write(b"".join(out))
                    out.clear()
                await self._screen(due)
            if line := self._line(chunk):
                out.append(line)
        if out:
            await write(b"".join(out))

    def _begin(self, chunk: dict[str, Any]) -> None:
        exchange = self._exchange
        self._has_begun, self._began_s = True, exchange.elapsed_s
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

    def _take(self, choice: dict[str, Any]) -> Draft | None:
        """Add a chunk to its draft; the draft, when moderation must look before it goes on."""
        draft: Draft = self._exchange.drafts[choice["index"]]
        if draft.is_blocked:
            return None
        self._exchange.shape.take(draft, choice)
        unread = draft.num_chars - self._read[draft.index]
        if unread >= _SCREEN_EVERY_CHARS or (draft.finish_reason is not None and unread):
            return draft
        return None

    async def _screen(self, drafts: list[Draft]) -> None:
        texts = [d.text[max(0, self._read[d.index] - _OVERLAP_CHARS) :] for d in drafts]
        await self._exchange.screen_answers(drafts, texts)
        for draft in drafts:
            self._read[draft.index] = draft.num_chars

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
        return b"data: " + orjson.dumps(exchange.stamp(line)) + b"\n\n"

    def _seen(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        draft = self._exchange.drafts[choice["index"]]
        if not draft.is_blocked:
            wants = self._exchange.asked.wants_logprobs
            return self._exchange.shape.for_client(choice, wants_logprobs=wants)
        if draft.is_withheld:
            return None
        draft.is_withheld = True  # said once
        draft.finish_reason = "content_filter"
        return self._exchange.shape.withheld(draft.index, choice)

    def _count_broken(self, why: str) -> None:
        self._exchange.metrics.streams_broken.labels(self._exchange.target.version, why).inc()
        self._exchange.span.fail(f"broken_by_{why}", is_fault=why != "client")

    async def _log_broken(self) -> None:
        try:
            await self._exchange.log(self._upstream, is_complete=False)
        except Unavailable as error:
            log.error("a broken stream is not in the log: %s", error.message)
