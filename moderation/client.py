"""The gateway's way to the moderation server. Loads no numpy and no onnxruntime."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from feedback.errors import BadRequest, HoneError, NotFound, TooLarge, Unavailable
from moderation.cache import Cache, Verdict

# Below the server's defaults (max_inputs, max_chars), so that a full batch is never refused.
_BATCH_TEXTS = 32
_BATCH_CHARS = 40_000
_JSON = {"content-type": "application/json"}
_LARGE_BODY = 1 << 20
_ABOUT_S = 30.0  # how long what the server says of itself counts
_ABOUT_TIMEOUT = aiohttp.ClientTimeout(total=2.0)


class ModerationClient:
    """Uses the caller's session; holds no connection of its own."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        timeout_s: float = 5.0,
        headers: Callable[[], Mapping[str, str]] = dict,
        cache: Cache | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._headers = headers  # what a request says besides, asked for each
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._cache = cache
        self._about: dict[str, Any] | None = None
        self._about_since = float("-inf")

    async def score(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order. Raises Unavailable when no answer comes in time."""
        known: dict[str, Verdict | None] = dict.fromkeys(texts)
        if self._cache is not None:
            known = {text: self._cache.get(text) for text in known}
        missing = [text for text, verdict in known.items() if verdict is None]
        for batch in _batches(missing):
            answered = await self.moderate({"input": batch})
            verdicts = _verdicts(answered, count=len(batch))
            known.update(zip(batch, verdicts, strict=True))
            if self._cache is not None:
                for text, verdict in zip(batch, verdicts, strict=True):
                    self._cache.put(text, verdict)
        return [found for text in texts if (found := known[text]) is not None]

    async def about(self, *, max_age_s: float = _ABOUT_S) -> dict[str, Any] | None:
        """GET /v1/moderations/categories, as it was lately; None where the server does not say."""
        if time.monotonic() - self._about_since > max_age_s:
            self._about_since = time.monotonic()
            url = f"{self._url}/v1/moderations/categories"
            try:
                async with self._session.get(url, timeout=_ABOUT_TIMEOUT) as response:
                    if response.status == 200:
                        self._about = orjson.loads(await response.read())
            except (TimeoutError, aiohttp.ClientError, ValueError):
                pass  # what it said before still counts
        return self._about

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
        raw = orjson.dumps(body)
        async with self._session.post(
            f"{self._url}/v1/moderations",
            # aiohttp warns of a large body in one piece: it would hold up the loop.
            data=raw if len(raw) < _LARGE_BODY else io.BytesIO(raw),
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


def _verdicts(answered: dict[str, Any], *, count: int) -> list[Verdict]:
    try:
        verdicts = [_verdict(result, model=answered["model"]) for result in answered["results"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise Unavailable("Moderation answered in another shape than OpenAI's.") from error
    if len(verdicts) != count:
        raise Unavailable(f"Moderation judged {len(verdicts)} of {count} texts.")
    return verdicts


def _verdict(result: dict[str, Any], *, model: str) -> Verdict:
    flagged = [name for name, is_flagged in result["categories"].items() if is_flagged]
    scores = result["category_scores"]
    applied = result.get("category_applied_input_types") or {}
    # Not applied: nobody judged it. Its 0.0 must not be taken for a score.
    scores = {name: score for name, score in scores.items() if applied.get(name, True)}
    return Verdict(scores=scores, flagged=flagged, model=model)


def _refused(status: int, content: dict[str, Any]) -> HoneError:
    error = content.get("error", {})
    message = str(error.get("message", f"Moderation answered {status}."))
    if status == 404:
        return NotFound(message, param=error.get("param"), code=error.get("code"))
    if status == 413:
        return TooLarge(message, param=error.get("param"))
    if 400 <= status < 500:
        return BadRequest(message, param=error.get("param"), code=error.get("code"))
    return Unavailable(message, retry_after_s=1)
