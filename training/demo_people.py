"""The simulated people of `hone demo`. They use the public API only; nothing in hone knows of them.

What the labelers like is stated in `PREFERENCE`; how much is `gold`; how well each of them sees it
is
Plackett–Luce noise, so that two labelers agree about as often as the paper's did (73 %).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
import stamina
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from serving.bench import load

PREFERENCE = "warm, encouraging answers; of two equally warm ones the shorter"
TEMPERATURE = 0.15  # of Plackett–Luce, in units of gold
_analyzer = SentimentIntensityAnalyzer()


def gold(text: str) -> float:
    """Warmth of an answer (VADER compound, -1…1) less a hundredth for each word."""
    return float(_analyzer.polarity_scores(text)["compound"]) - len(text.split()) / 100


def noisy_order(scores: list[float], *, rng: random.Random) -> list[int]:
    """Positions, best first: one draw from Plackett–Luce on gold / TEMPERATURE (Gumbel trick)."""
    noise = np.random.default_rng(rng.randrange(2**32)).gumbel(size=len(scores))
    return [int(i) for i in np.argsort(-(np.asarray(scores) / TEMPERATURE + noise))]


class Failed(Exception):
    """An error status, with the server's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def is_busy(error: Exception) -> bool:
    """What a client tries again: the statuses that say so, and a connection that broke."""
    if isinstance(error, Failed):
        return error.status in (429, 503)
    return isinstance(error, aiohttp.ClientError | TimeoutError)


class Person:
    """Somebody with an API key and an HTTP client."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"}

    @stamina.retry(on=is_busy, attempts=4, wait_initial=1.0)
    async def ask_again(self, prompt: str, **options: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """`ask`, tried again while the server says that it is busy, as the OpenAI client does."""
        return await self.ask(prompt, **options)

    async def ask(self, prompt: str, **options: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """One chat request. Returns the answer and the response's headers. Raises Failed."""
        body = {"model": "policy", "messages": [{"role": "user", "content": prompt}]} | options
        async with self._session.post(
            f"{self._url}/v1/chat/completions", json=body, headers=self._headers
        ) as response:
            answer = await response.json()
            if response.status != 200:
                raise Failed(response.status, answer["error"]["message"])
            return answer, {name.lower(): value for name, value in response.headers.items()}

    async def stream(self, prompt: str, *, num_tokens: int) -> load.Answer:
        """A streamed answer of exactly so many tokens that is not kept. What went wrong is in it."""
        body = {
            "model": "policy",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": num_tokens,
            "min_tokens": num_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "store": False,
        }
        headers = self._headers | {"content-type": "application/json"}
        target = load.Load(url=self._url, headers=headers, bodies=[body])
        return await load.ask(self._session, target, body)

    async def get(self, path: str) -> Any:
        """A JSON answer, or None for 204."""
        async with self._session.get(self._url + path, headers=self._headers) as response:
            response.raise_for_status()
            return None if response.status == 204 else await response.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._send("POST", path, json=body)

    async def delete(self, path: str) -> Any:
        return await self._send("DELETE", path)

    async def _send(self, method: str, path: str, **options: Any) -> Any:
        async with self._session.request(
            method, self._url + path, headers=self._headers, **options
        ) as response:
            answer = await response.json()
            if response.status >= 400:
                raise Failed(response.status, f"{path}: {answer['error']['message']}")
            return answer


async def end_users_ask(
    person: Person,
    prompts: list[str],
    *,
    num_users: int,
    num_candidates: int,
    max_tokens: int,
    concurrency: int,
    on_answer: Callable[[], None],
) -> int:
    """Every prompt once, `num_candidates` answers each. Returns how many prompts moderation
    refused."""
    gate = asyncio.Semaphore(concurrency)
    refused = 0

    async def one(number: int, prompt: str) -> None:
        nonlocal refused
        async with gate:
            try:
                await person.ask_again(
                    prompt,
                    n=num_candidates,
                    max_tokens=max_tokens,
                    temperature=1.0,
                    user=f"end-user-{number % num_users:03d}",
                )
            except Failed as error:
                if error.status != 400:
                    raise
                refused += 1
            on_answer()

    await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts)))
    return refused


async def labeler_ranks(
    person: Person, *, name: str, seed: int, limit: int, on_ranking: Callable[[], None]
) -> int:
    """Take assignments and rank their candidates until none is left. Returns how many were
    ranked."""
    rng = random.Random(seed)
    done = 0
    while done < limit:
        item = await person.get(f"/v1/feedback/assignments/next?labeler={name}")
        if item is None:
            break
        candidates = item["candidates"]
        order = noisy_order([gold(candidate["text"]) for candidate in candidates], rng=rng)
        ranking = {
            "candidates": [
                {"completion_id": c["completion_id"], "index": c["index"]} for c in candidates
            ],
            "tiers": [[chr(ord("a") + position)] for position in order],
            "labeler": name,
        }
        await person.post("/v1/feedback/rankings", ranking)
        done += 1
        on_ranking()
    return done
