"""Is a part ready? Small questions over a plain socket: `hone up` needs no HTTP client for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0
_LOG_TAIL_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a probe may want to know of the process it asks about. Written by the supervisor."""

    log: Path
    log_offset: int  # bytes that were in the log before this start


Probe = Callable[[Start], Awaitable[bool]]


def redis_answers(port: int) -> Probe:
    async def probe(_start: Start) -> bool:
        return (await _exchange(port, b"PING\r\n", num_bytes=5)).startswith(b"+PONG")

    return probe


def http_ok(port: int, path: str, *, host: str = "127.0.0.1") -> Probe:
    async def probe(_start: Start) -> bool:
        status, _body = await _get(port, path, host=host)
        return status == 200

    return probe


def engine_serves(port: int, *, token: str) -> Probe:
    """Healthy, and says which version it holds."""

    async def probe(_start: Start) -> bool:
        status, _body = await _get(port, "/health", token=token)
        if status != 200:
            return False
        status, body = await _get(port, "/policy", token=token)
        return status == 200 and bool(json.loads(body).get("weights", {}).get("version"))

    return probe


def log_says(text: str) -> Probe:
    """For Celery, which has no port: `celery inspect ping` takes seconds, its own line none."""

    async def probe(start: Start) -> bool:
        with start.log.open("rb") as log:
            log.seek(start.log_offset)
            return text.encode() in log.read(_LOG_TAIL_BYTES)

    return probe


async def holds(probe: Probe, start: Start) -> bool:
    """The probe's answer; no answer, or nonsense, is no."""
    try:
        return await asyncio.wait_for(probe(start), TIMEOUT_S)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False


async def _get(
    port: int, path: str, *, host: str = "127.0.0.1", token: str | None = None
) -> tuple[int, Any]:
    """Status and body of one GET."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n"
    head, _, body = (await _exchange(port, request.encode(), host=host)).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 else 0), body


async def _exchange(
    port: int, request: bytes, *, num_bytes: int = -1, host: str = "127.0.0.1"
) -> bytes:
    """Send, then read up to `num_bytes`, or until the other side closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read(num_bytes)
    finally:
        writer.close()
