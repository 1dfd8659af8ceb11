"""Two gateways, and an event that the first took while Redis was away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from feedback.events import Event
from feedback.journal import Journal
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer


@asynccontextmanager
async def waiting_elsewhere(
    event: Event, server: RedisServer, folder: Path
) -> AsyncIterator[tuple[Journal, Journal]]:
    """The journal whose outbox has it, not draining yet, and another gateway's. Redis is back."""
    journals = []
    for name in ("one", "two"):
        path = folder / name / "outbox.sqlite"
        journals.append(Journal(FeedbackSettings(redis_url=server.url, outbox_path=path)))
    answering, asked = journals
    server.stop()
    await answering.append(event)
    server.start()
    yield answering, asked
    await answering.close()
    await asked.close()
