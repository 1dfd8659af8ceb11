"""The mock upstream: answers as vLLM with our policy endpoint does, and as the moderation server.

Every answer is `WORDS`, made before the first request; over and over where `max_tokens` asks for
more of them. A blank prompt is answered in blanks: the gateway has nothing to moderate then, so that
moderation's cost shows without a switch in it.

    python -m serving.bench.mock PORT PACE_MS
"""

from __future__ import annotations

import asyncio
import sys
from functools import cache, lru_cache
from itertools import cycle, islice
from typing import Any

import orjson
from aiohttp import web

from moderation.categories import CATEGORIES
from serving.bench.load import run_loop
from serving.engines import FIRST_HEADER, LAST_HEADER, VERSION_COMMENT
from serving.registry import BASE

WORDS = tuple(f" word-{number:02d}" for number in range(32))
_TAGS = {FIRST_HEADER: BASE, LAST_HEADER: BASE}
_JSON = "application/json"


def blank(text: str) -> str:
    """As long, and nothing to read."""
    return " " * len(text)


class Mock:
    """The routes, how many texts moderation was asked about, and what went into streams."""

    def __init__(self, *, pace_s: float) -> None:
        self._pace_s = pace_s  # from one chunk of a stream to the next
        self._num_moderated = self._num_bytes = self._num_streams = 0
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._generate)
        self.app.router.add_post("/v1/moderations", self._moderate)
        self.app.router.add_get("/policy", self._policy)
        self.app.router.add_get("/healthz", self._healthz)

    async def _healthz(self, request: web.Request) -> web.Response:
        counts = {"num_moderated": self._num_moderated, "num_streamed_bytes": self._num_bytes}
        return web.json_response({"status": "ok", "num_streams": self._num_streams, **counts})

    async def _policy(self, request: web.Request) -> web.Response:
        weights = {"version": BASE, "kind": "base", "digest": "b" * 64, "served_as": BASE}
        base = {"path": "mock", "digest": "b" * 64}
        return web.json_response({"base": base, "weights": weights, "loaded": [weights]})

    async def _moderate(self, request: web.Request) -> web.Response:
        num_texts = len(orjson.loads(await request.read())["input"])
        self._num_moderated += num_texts
        return web.Response(body=_verdicts(num_texts), content_type=_JSON)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        is_blank = not asked["messages"][-1]["content"].strip()
        num_tokens = max(len(WORDS), asked.get("max_tokens") or 0)
        whole, chunks = _answer(
            num_tokens, is_blank=is_blank, has_logprobs=bool(asked.get("logprobs"))
        )
        if not asked.get("stream"):
            return web.Response(body=whole, content_type=_JSON, headers=_TAGS)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **_TAGS})
        await response.prepare(request)
        has_usage = (asked.get("stream_options") or {}).get("include_usage")
        self._num_streams += 1
        try:
            await self._pace(response, chunks if has_usage else chunks[:-1], num_tokens=num_tokens)
        finally:
            self._num_streams -= 1
        await response.write(b"data: [DONE]\n\n" + VERSION_COMMENT + f"{BASE} {BASE}\n\n".encode())
        return response

    async def _pace(
        self, response: web.StreamResponse, chunks: tuple[bytes, ...], *, num_tokens: int
    ) -> None:
        """The first chunk at once, the others by the clock, so that lateness does not add up."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, chunk in enumerate(chunks):
            due = began + min(number, num_tokens - 1) * self._pace_s  # usage comes with the last
            await asyncio.sleep(max(0.0, due - loop.time()))
            await response.write(chunk)  # waits while the gateway does not read
            self._num_bytes += len(chunk)


@lru_cache(maxsize=8)
def _answer(
    num_tokens: int, *, is_blank: bool, has_logprobs: bool
) -> tuple[bytes, tuple[bytes, ...]]:
    """The whole answer, and its stream: a chunk a token, then one with the usage."""
    words = [blank(word) if is_blank else word for word in islice(cycle(WORDS), num_tokens)]
    usage = {"prompt_tokens": 3, "completion_tokens": num_tokens, "total_tokens": num_tokens + 3}
    head: dict[str, Any] = {"id": "chatcmpl-mock", "created": 1, "model": BASE}

    def choice(words: list[str], **content: Any) -> dict[str, Any]:
        of_log = {"logprobs": _logprobs(words), "token_ids": list(range(len(words)))}
        return {"index": 0, **content, **(of_log if has_logprobs else {})}

    message = {"role": "assistant", "content": "".join(words)}
    whole = head | {
        "object": "chat.completion",
        "choices": [choice(words, message=message, finish_reason="stop")],
        "usage": usage,
        "prompt_token_ids": [1, 2, 3],
    }
    reasons = [None] * (len(words) - 1) + ["stop"]
    choices = [
        [choice([word], delta={"role": "assistant", "content": word}, finish_reason=reason)]
        for word, reason in zip(words, reasons, strict=True)
    ]
    head["object"] = "chat.completion.chunk"
    chunks = [head | {"choices": each} for each in choices]
    chunks.append(head | {"choices": [], "usage": usage})
    return orjson.dumps(whole), tuple(b"data: " + orjson.dumps(each) + b"\n\n" for each in chunks)


@cache
def _verdicts(num_texts: int) -> bytes:
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.001),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    return orjson.dumps({"id": "modr-mock", "model": "mock", "results": [result] * num_texts})


def _logprobs(words: list[str]) -> dict[str, Any]:
    shared = {"logprob": -0.5, "top_logprobs": []}
    return {"content": [{"token": w, "bytes": list(w.encode()), **shared} for w in words]}


async def _serve(port: int, pace_s: float) -> None:
    runner = web.AppRunner(Mock(pace_s=pace_s).app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run_loop(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1e3))
