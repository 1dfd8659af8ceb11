"""A log with events to archive, and what archives them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis

from feedback import eventlog
from feedback.archive.archiver import Archiver
from feedback.archive.reader import Archive
from feedback.events import Choice, Completion, Event, Feedback, new_id
from feedback.history import History
from feedback.settings import FeedbackSettings


def settings(redis_url: str, folder: Path, **changes: Any) -> FeedbackSettings:
    """Whatever is older than two minutes is archived at once."""
    return FeedbackSettings(
        redis_url=redis_url,
        outbox_path=folder / "outbox.sqlite",
        archive_url=str(folder / "archive"),
        **{"log_keep_s": 0, "archive_every_s": 1, **changes},
    )


def archiver(
    client: redis.Redis, given: FeedbackSettings, *, later_s: float = 1_000, **options: Any
) -> Archiver:
    """As if so much time had gone by."""
    archive = Archive.of(given)
    return Archiver(client, archive, given, clock=lambda: time.time() + later_s, **options)


def completion(text: str = "hello", **changes: Any) -> Completion:
    fields: dict[str, Any] = {
        "id": new_id("chatcmpl-"),
        "created": time.time(),
        "key_id": "key_1",
        "tenant": "t",
        "endpoint": "chat",
        "request": {"messages": [{"role": "user", "content": text}]},
        "prompt_ids": [1, 2],
        "choices": [
            Choice(index=0, text=text, token_ids=[3], logprobs=[-0.5], finish_reason="stop")
        ],
        "version": "policy-0000",
        "version_last": "policy-0000",
        "digest": "d",
        "latency_ms": 1.0,
        **changes,
    }
    return Completion(**fields)


def judgement(about: Completion | None = None, **changes: Any) -> Feedback:
    fields: dict[str, Any] = {
        "id": new_id("fbk_"),
        "created": time.time(),
        "form": "rating",
        "labeler": "ann",
        "tenant": "t",
        "completion_ids": [about.id] if about is not None else [],
        "body": {"thumb": "up"},
        **changes,
    }
    return Feedback(**fields)


def fill(client: redis.Redis, *events: Event) -> None:
    for event in events:
        assert eventlog.append(client, event)


def read(client: redis.Redis, given: FeedbackSettings, kind: str = "completions") -> list[str]:
    """The ids that the log gives, in order."""
    return [event.id for _, event in History(client, Archive.of(given)).read(kind)]
