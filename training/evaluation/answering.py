"""Answers over HTTP, from an engine or through the gateway: both speak OpenAI's completions.

Tasks are sampled at T = 0 and cut at the first newline, as the paper does. What people would see (`chat`) is
sampled at T = 1 with fixed seeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import stamina

from feedback.errors import HoneError, Unavailable

_TIMEOUT = aiohttp.ClientTimeout(total=600)
_BUSY = (429, 503)
BLOCKED = "content_policy_violation"


class Answer(Protocol):
    """A policy: the answer to each prompt, at T = 0, up to the first newline."""

    def __call__(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class Said:
    """One sampled answer."""

    text: str
    has_ended: bool  # False: cut at max_tokens


class Blocked(HoneError):
    """Moderation refused the prompt or the answer."""


class Busy(Unavailable):
    """Asked again after a while."""


class Endpoint:
    """A policy behind a URL. `prefix` stands before every prompt: the paper's prompted GPT-3."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        model: str,
        concurrency: int = 32,
        prefix: str = "",
        is_gateway: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.model = model
        self.prefix = prefix
        self.is_gateway = is_gateway
        self.num_blocked = 0  # answers that moderation kept back; they count as empty
        self.concurrency = concurrency
        # An evaluation's questions are nobody's: the log does not keep them.
        self._always = {"model": model} | ({"store": False} if is_gateway else {})

    def __call__(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """Raises HoneError with the server's words, Unavailable when it stays away."""
        bodies = [
            {
                "prompt": self.prefix + prompt,
                "max_tokens": max_tokens,
                "temperature": 0,
                "stop": ["\n"],
            }
            for prompt in prompts
        ]
        answers = self._ask("/v1/completions", bodies)
        return ["" if a is None else str(a["choices"][0]["text"]).strip() for a in answers]

    def chat(
        self, questions: Sequence[str], *, num_answers: int, max_tokens: int, seed: int
    ) -> list[list[Said]]:
        """Answers to each question, sampled at T = 1; question i with seed + i * num_answers."""
        bodies = [
            {
                "messages": [{"role": "user", "content": self.prefix + question}],
                "n": num_answers,
                "max_tokens": max_tokens,
                "temperature": 1,
                "top_p": 1,
                "seed": seed + i * num_answers,
            }
            for i, question in enumerate(questions)
        ]
        answers = self._ask("/v1/chat/completions", bodies)
        return [[Said(text="", has_ended=True)] if a is None else _said(a) for a in answers]

    def _ask(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        return asyncio.run(self._ask_all(path, bodies))

    async def _ask_all(
        self, path: str, bodies: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any] | None]:
        connector = aiohttp.TCPConnector(limit=self.concurrency)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session:
            room = asyncio.Semaphore(self.concurrency)

            async def one(body: Mapping[str, Any]) -> dict[str, Any] | None:
                async with room:
                    try:
                        return await self._ask_one(session, path, body)
                    except Blocked:
                        self.num_blocked += 1
                        return None

            return await asyncio.gather(*map(one, bodies))

    @stamina.retry(on=Busy, attempts=6, wait_initial=0.5, timeout=120)
    async def _ask_one(
        self, session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key}"}
        asked = {**self._always, **body}
        try:
            async with session.post(self.url + path, json=asked, headers=headers) as response:
                status, answer = response.status, await response.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Busy(f"{self.url} does not answer: {error!r}") from error
        if status == 200:
            return dict(answer)
        said = answer.get("error") or {}
        message = f"{self.url}{path}: {said.get('message') or status}"
        if status in _BUSY:
            raise Busy(message)
        raise (Blocked if said.get("code") == BLOCKED else HoneError)(message)


def _said(answer: Mapping[str, Any]) -> list[Said]:
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    return [
        Said(text=choice["message"]["content"] or "", has_ended=choice["finish_reason"] != "length")
        for choice in choices
    ]
