"""One JSON request to a backend's server; whatever goes wrong is Unavailable, never a silent pass."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson

from feedback.errors import Unavailable


class Remote:
    """A server, and the connections to it."""

    def __init__(self, url: str, *, key: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str) -> Any:
        """Raises Unavailable."""
        return await self._ask("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Raises Unavailable."""
        return await self._ask("POST", path, orjson.dumps(body))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def broken(self, what: str) -> Unavailable:
        """The server answered, and it means nothing."""
        return Unavailable(f"The moderation backend at {self.url} {what}.", retry_after_s=5)

    async def _ask(self, method: str, path: str, data: bytes | None) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=self._headers, trust_env=True
            )
        try:
            async with self._session.request(method, self.url + path, data=data) as response:
                status, raw = response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise self.broken(f"did not answer ({type(error).__name__})") from error
        if status != 200:
            raise self.broken(f"answered {status}: {_message(raw)}")
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise self.broken("answered no JSON") from error


def _message(raw: bytes) -> str:
    try:
        return str(orjson.loads(raw)["error"]["message"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return raw[:300].decode(errors="replace")


async def served(remote: Remote, *, prefix: str) -> tuple[str, int | None]:
    """What an OpenAI-compatible server serves first: the model's name, and how many tokens it reads."""
    listed = await remote.get(f"{prefix}/models")
    try:
        first = listed["data"][0]
        return str(first["id"]), first.get("max_model_len")
    except (KeyError, IndexError, TypeError) as error:
        raise remote.broken("lists no model") from error
