"""The newest of the log, and what comes after it, each event as one line for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import redis

from feedback import eventlog, keys
from feedback.events import (
    Audit,
    Completion,
    Event,
    Feedback,
    Moderated,
    RoundChanged,
    decode,
    position,
)

_WAIT_MS = 1_000
_CUT = 60  # characters of a text


def newest(client: redis.Redis, kinds: Sequence[str], *, count: int) -> list[tuple[str, Event]]:
    """The last so many events that are in Redis, in the order in which they came: (entry id, event)."""
    found: list[tuple[str, Event]] = []
    for kind in kinds:
        rows = cast(eventlog.Rows, client.xrevrange(keys.stream(kind), count=count))
        found += [(entry.decode(), decode(kind, fields[b"e"])) for entry, fields in rows]
    return sorted(found, key=_came)[-count:] if count else []


def _came(entry_and_event: tuple[str, Event]) -> tuple[int, int, int]:
    """Streams number their entries apart; in one millisecond what is judged came before judgements."""
    entry, event = entry_and_event
    millisecond, number = position(entry)
    return millisecond, keys.KINDS.index(event.kind), number


def follow(client: redis.Redis, kinds: Sequence[str]) -> Iterator[tuple[str, Event]]:
    """Events that come from now on, for ever: (entry id, event)."""
    after = {keys.stream(kind): eventlog.last_entry(client, kind) or "0-0" for kind in kinds}
    kind_of = {keys.stream(kind): kind for kind in kinds}
    while True:
        positions: dict[Any, Any] = dict(after)
        replies = client.xread(positions, count=100, block=_WAIT_MS)
        for name, rows in cast("list[tuple[bytes, eventlog.Rows]]", replies or []):
            for entry, fields in rows:
                yield entry.decode(), decode(kind_of[name.decode()], fields[b"e"])
                after[name.decode()] = entry.decode()


def line(entry: str, event: Event) -> str:
    """Texts are cut, and hold nothing that a terminal would obey."""
    came = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(position(entry)[0] / 1000))
    return f"{came}  {event.kind:11} {event.id:36} {_cut(_said(event), 200)}"


def _said(event: Event) -> str:
    match event:
        case Completion():
            who = event.end_user or event.key_id
            answers = " | ".join(_cut(choice.text) for choice in event.choices)
            return f"{event.version} {_cut(who)}: {_cut(prompt_text(event))} → {answers}"
        case Feedback():
            return f"{event.form} by {_cut(event.labeler)} on {' '.join(event.completion_ids)}"
        case Moderated():
            return f"{event.stage} of {event.key_id}: {' '.join(event.blocked)}"
        case RoundChanged():
            return f"{event.round_id} {event.what} {event.detail or ''}"
        case Audit():
            return f"{event.actor} {event.action} {event.detail or ''}"


def prompt_text(completion: Completion) -> str:
    """What a person asked: the last message, or the prompt."""
    messages = completion.request.get("messages")
    if not messages:
        return str(completion.request.get("prompt", ""))
    content = messages[-1].get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content if isinstance(part, dict))


def _cut(text: str, limit: int = _CUT) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
