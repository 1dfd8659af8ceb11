"""A server of vLLM's chat API, with log-probabilities, that gives recorded answers.

An answer is written as its tokens; a token may come with what else could have stood there:
`("Yes", 0.9, {"No": 0.1})`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from aiohttp import web

Token = str | tuple[str, float, dict[str, float]]


class ChatServer:
    """Answers by `answer(body)`; remembers the bodies."""

    def __init__(self, answer: Callable[[dict[str, Any]], list[Token]]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._answer = answer
        self.app = web.Application()
        self.app.router.add_get("/v1/models", self._models)
        self.app.router.add_post("/v1/chat/completions", self._complete)

    async def _models(self, request: web.Request) -> web.Response:
        data = [{"id": "the-guard", "object": "model", "max_model_len": 8192}]
        return web.json_response({"object": "list", "data": data})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        tokens = [_token(token) for token in self._answer(body)][: body["max_tokens"]]
        text = "".join(token["token"] for token in tokens)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": tokens},
            "finish_reason": "stop",
        }
        return web.json_response({"id": "chatcmpl-1", "choices": [choice], "model": body["model"]})


def _token(given: Token) -> dict[str, Any]:
    text, probability, others = (given, 1.0, {}) if isinstance(given, str) else given
    likely = {text: probability, **others}
    top = [
        {"token": token, "logprob": math.log(p), "bytes": list(token.encode())}
        for token, p in sorted(likely.items(), key=lambda item: -item[1])
    ]
    return {**next(each for each in top if each["token"] == text), "top_logprobs": top}
