"""vLLM's HTTP, as hone uses it: one client class for the gateway, for publishing and for
rollouts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from feedback.errors import HoneError, Refused, Unavailable
from serving import tracing
from serving.tracing import Attributes, Span

VERSION_HEADER = (
    "x-policy-version"  # request: the version the caller means; the engine refuses another
)
WANTED_HEADER = "x-policy-wanted"  # GET /policy: versions, one of which makes the engine ready
FIRST_HEADER = "x-engine-version-first"
LAST_HEADER = "x-engine-version-last"
VERSION_COMMENT = (
    b": engine-version "  # SSE: `: engine-version <first> <last>`, after the last chunk
)

_NO_HEADERS: Mapping[str, str] = {}
_CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=2)
_TRANSFER_TIMEOUT = aiohttp.ClientTimeout(total=600, connect=2)
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=3, connect=2)
_READ_AHEAD_BYTES = 1 << 15  # of an answer, before its reader has taken it; aiohttp's own: 2^18


class Engine:
    """One vLLM server with our policy endpoint. Raises Unavailable when it cannot be reached."""

    def __init__(
        self,
        url: str,
        token: str,
        session: aiohttp.ClientSession,
        *,
        request_timeout_s: float = 300,
    ) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._headers = {"authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_s, connect=2)
        parsed = urlsplit(self.url)
        self._address: Attributes = {
            "http.request.method": "POST",
            "server.address": parsed.hostname or "",
            "server.port": parsed.port or (443 if parsed.scheme == "https" else 80),
        }

    def span(self) -> Span:
        """A request to this engine, begun now. Whoever opens the answer ends it."""
        span = tracing.span("engine.answer", kind="client")
        span.set(self._address)
        return span

    async def policy(self, *, wanted: Collection[str] = ()) -> dict[str, Any]:
        """What the engine has loaded. `wanted`: with one of these versions it may call itself ready."""
        told = {WANTED_HEADER: ",".join(wanted)} if wanted else _NO_HEADERS
        return await self._control("GET", "/policy", timeout=_PROBE_TIMEOUT, headers=told)

    async def metrics(self) -> str:
        """vLLM's own figures, in Prometheus' text format."""
        try:
            async with self._session.get(
                self.url + "/metrics", headers=self._headers, timeout=_PROBE_TIMEOUT
            ) as response:
                text = await response.text(errors="replace")
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"no engine answers: {error!r}", retry_after_s=5) from error
        if response.status != 200:
            raise Unavailable(f"the engine answered {response.status}", retry_after_s=5)
        return text

    async def load(self, version: str, path: str, digest: str) -> dict[str, Any]:
        """Make the engine serve a version. Raises Refused with the reason; the engine then goes on
        with what it had."""
        body = {"version": version, "path": path, "digest": digest}
        return await self._control("PUT", "/policy", body=body, timeout=_CONTROL_TIMEOUT)

    async def unload(self, version: str) -> dict[str, Any]:
        """Forget an adapter. Requests in flight on it finish."""
        return await self._control("DELETE", f"/policy/{quote(version)}", timeout=_CONTROL_TIMEOUT)

    async def join_transfer(self, membership: Mapping[str, Any]) -> dict[str, Any]:
        """Enter a trainer's group; returns when all its members are there. Raises Refused."""
        return await self._control(
            "POST", "/policy/transfer", body=membership, timeout=_TRANSFER_TIMEOUT
        )

    async def receive(self, version: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Take the tensors that a trainer broadcasts meanwhile. Raises Refused; the base is there then."""
        body = {"version": version, "sent": sent}
        return await self._control("PUT", "/policy", body=body, timeout=_TRANSFER_TIMEOUT)

    async def leave_transfer(self) -> dict[str, Any]:
        """Leave the group, if it is in one."""
        return await self._control("DELETE", "/policy/transfer", timeout=_CONTROL_TIMEOUT)

    async def open(
        self,
        path: str,
        body: bytes | Mapping[str, Any],
        *,
        version: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> aiohttp.ClientResponse:
        """Send a request and return when the answer's headers are there. The caller reads and
        closes.

        `version` is checked by the engine: it answers 409 `policy_not_loaded` for any other.
        """
        sent = {**headers, **self._headers, "content-type": "application/json"}
        if version is not None:
            sent[VERSION_HEADER] = version
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        try:
            return await self._session.post(
                self.url + path,
                headers=sent,
                timeout=self._timeout,
                read_bufsize=_READ_AHEAD_BYTES,
                **data,
            )
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"no engine answers: {error}", retry_after_s=5) from error

    async def completions(
        self, body: Mapping[str, Any], *, version: str | None = None
    ) -> dict[str, Any]:
        """One non-streamed `/v1/completions`, as vLLM answers it. Raises HoneError with its
        message."""
        response = await self.open("/v1/completions", body, version=version)
        try:
            async with response:
                return await _json_or_raise(response)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"the engine broke off: {error}", retry_after_s=5) from error

    async def _control(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> dict[str, Any]:
        sent = {**headers, **self._headers}
        try:
            async with self._session.request(
                method, self.url + path, headers=sent, json=body, timeout=timeout
            ) as response:
                return await _json_or_raise(response)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"no engine answers: {error!r}", retry_after_s=5) from error


async def _json_or_raise(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await response.json(content_type=None)
    except ValueError as broken:  # a server that is breaking down says so in plain text
        raise Unavailable(
            f"the engine answered {response.status}, and no JSON", retry_after_s=5
        ) from broken
    if response.status < 400:
        return answer
    error = answer.get("error") or {}
    message = error.get("message") or f"the engine answered {response.status}"
    if response.status == Refused.status:
        raise Refused(message, code=error.get("code"))
    if response.status >= 500:
        raise Unavailable(message, retry_after_s=5)
    raise HoneError(message, code=error.get("code"))
