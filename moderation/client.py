"""The gateway's way to the moderation server. Loads no numpy and no onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from feedback.errors import BadRequest, HoneError, TooLarge, Unavailable

# Below the server's defaults (max_inputs, max_chars), so that a full batch is never refused.
_BATCH_TEXTS = 32
_BATCH_CHARS = 40_000
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the server says about one text."""

    scores: dict[str, float]  # every one of OpenAI's categories, 0 to 1; 0.0 where not scored
    flagged: list[str]  # categories the server flags; what blocks is moderation.policy's to say


class ModerationClient:
    """Uses the caller's session; holds no connection of its own."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        timeout_s: float = 5.0,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._headers = headers  # what a request says besides, asked for each
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def score(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order. Raises Unavailable when no answer comes in time."""
        verdicts: list[Verdict] = []
        for batch in _batches(texts):
            answered = await self.moderate({"input": batch})
            verdicts.extend(_verdict(result) for result in answered["results"])
        return verdicts

    async def moderate(self, body: dict[str, Any]) -> dict[str, Any]:
        """OpenAI's answer to OpenAI's request. Raises BadRequest, TooLarge, Unavailable."""
        try:
            try:
                status, content = await self._post(body)
            except aiohttp.ClientConnectionError:
                # A server may close an idle connection just as we use it. Scoring changes nothing,
                # so it may be asked for twice.
                status, content = await self._post(body)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise self._away(error) from error
        if status != 200:
            raise _refused(status, content)
        return content

    async def _post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        async with self._session.post(
            f"{self._url}/v1/moderations",
            data=orjson.dumps(body),
            headers={**_JSON, **self._headers()},
            timeout=self._timeout,
        ) as response:
            return response.status, orjson.loads(await response.read())

    async def is_ready(self) -> bool:
        """The server answers and its classifier is loaded."""
        try:
            async with self._session.get(f"{self._url}/healthz", timeout=self._timeout) as response:
                return response.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"Moderation at {self._url} did not answer ({type(error).__name__}); texts cannot be "
            "checked now. Try again; an operator looks at `python -m moderation serve`.",
            retry_after_s=2,
        )


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    num_chars = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_TEXTS or num_chars + len(text) > _BATCH_CHARS):
            yield batch
            batch, num_chars = [], 0
        batch.append(text)
        num_chars += len(text)
    if batch:
        yield batch


def _verdict(result: dict[str, Any]) -> Verdict:
    flagged = [name for name, is_flagged in result["categories"].items() if is_flagged]
    return Verdict(scores=result["category_scores"], flagged=flagged)


def _refused(status: int, content: dict[str, Any]) -> HoneError:
    error = content.get("error", {})
    message = str(error.get("message", f"Moderation answered {status}."))
    if status == 413:
        return TooLarge(message, param=error.get("param"))
    if 400 <= status < 500:
        return BadRequest(message, param=error.get("param"))
    return Unavailable(message, retry_after_s=1)
