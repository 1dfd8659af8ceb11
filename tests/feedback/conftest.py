"""A journal on a real Redis, and candidate sets in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from feedback.events import Choice, Completion
from feedback.journal import Journal
from feedback.labeling.queues import Queues, Task
from feedback.settings import FeedbackSettings

Offer = Callable[..., Awaitable[Completion]]


@pytest.fixture
async def journal(redis_url: str, tmp_path: Path) -> AsyncIterator[Journal]:
    settings = FeedbackSettings(redis_url=redis_url, outbox_path=tmp_path / "outbox.sqlite")
    opened = Journal(settings)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def offer(journal: Journal) -> Offer:
    """Log a set, and offer it for a task (None: only log it)."""

    async def offer(
        name: str,
        *,
        task: Task | None = "rank",
        num_choices: int = 4,
        num_blocked: int = 0,
        tenant: str = "t",
        wanted: int = 1,
        priority: float | None = None,
    ) -> Completion:
        completion = a_set(name, num_choices=num_choices, num_blocked=num_blocked, tenant=tenant)
        await journal.append(completion)
        if task is not None:
            queues = Queues(journal.redis, lease_s=60)
            await queues.offer(task, name, tenant=tenant, wanted=wanted, priority=priority)
        return completion

    return offer


def a_set(
    name: str, *, num_choices: int = 4, num_blocked: int = 0, tenant: str = "t"
) -> Completion:
    """A completion with some answers to one prompt."""
    choices = [
        Choice(
            index=i,
            text=f"answer {i}",
            token_ids=[i],
            logprobs=[-1.0],
            finish_reason="stop",
            blocked=i < num_blocked,
        )
        for i in range(num_choices)
    ]
    return Completion(
        id=name,
        created=1.0,
        key_id="key",
        tenant=tenant,
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "hi"}]},
        prompt_ids=[1],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
    )
