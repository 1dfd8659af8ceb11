"""Files taken into a log, and what the log holds then."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import redis

from feedback import eventlog
from feedback.events import Completion, Feedback
from feedback.formats.imports import Report, Wish, run


def take(client: redis.Redis, path: Path, **options: Any) -> tuple[Report, list[tuple[str, str]]]:
    bad: list[tuple[str, str]] = []
    report = run(client, Wish(path=path, **options), on_bad=lambda *line: bad.append(line))
    return report, bad


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return path


def log_of(client: redis.Redis) -> tuple[list[Completion], list[Feedback]]:
    completions = [cast(Completion, event) for _, event in eventlog.read(client, "completions")]
    return completions, [cast(Feedback, event) for _, event in eventlog.read(client, "feedback")]


def judged(client: redis.Redis) -> tuple[Completion, Feedback]:
    ((completion,), (event,)) = log_of(client)
    return completion, event


def preferred(client: redis.Redis) -> tuple[str, str]:
    """Chosen and rejected of the one comparison in the log."""
    completion, event = judged(client)
    answers = [choice.text for choice in completion.choices]
    return tuple(answers if event.body["preference"] > 0 else answers[::-1])  # type: ignore[return-value]
