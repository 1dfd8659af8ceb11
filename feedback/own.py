"""What a caller said: newest first, and each with what it replaced.

The list goes as far back as Redis does; what is in the archive is found by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from feedback import eventlog, keys
from feedback.callers import Caller
from feedback.errors import NotFound
from feedback.events import Feedback, decode
from feedback.journal import Journal

_LOOK_AT = 500  # events per round trip: some milliseconds in which the gateway does nothing else
_MAX_LOOKS = 20  # per page
_MAX_HISTORY = 20


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of them."""

    judgements: list[Feedback]
    has_more: bool  # there are more, or the walk was cut short
    cursor: str | None  # `after` of the next page, also when this one holds nothing


async def page(journal: Journal, caller: Caller, *, limit: int, after: str | None) -> Page:
    """The next ones. Raises NotFound if there is no judgement `after`; redis.RedisError."""
    end = "+" if after is None else f"({await _entry(journal, after)}"
    found: list[Feedback] = []
    cursor = after
    for _ in range(_MAX_LOOKS):
        rows = cast(
            eventlog.Rows,
            await journal.redis.xrevrange(keys.stream(Feedback.kind), end, "-", count=_LOOK_AT),
        )
        for entry, fields in rows:
            event = cast(Feedback, decode(Feedback.kind, fields[b"e"]))
            if caller.said(event):
                if len(found) == limit:
                    return Page(judgements=found, has_more=True, cursor=found[-1].id)
                found.append(event)
            cursor, end = event.id, f"({entry.decode()}"
        if len(rows) < _LOOK_AT:
            return Page(judgements=found, has_more=False, cursor=cursor)
    return Page(judgements=found, has_more=True, cursor=cursor)


async def history(journal: Journal, event: Feedback) -> list[Feedback]:
    """What it replaced, and what that did, newest first."""
    found: list[Feedback] = []
    replaced = event.replaces
    while replaced is not None and len(found) < _MAX_HISTORY:
        before = await journal.get(Feedback.kind, replaced)
        if not isinstance(before, Feedback) or before.labeler != event.labeler:
            break
        found.append(before)
        replaced = before.replaces
    return found


def shown(event: Feedback) -> dict[str, Any]:
    """A judgement as its author sees it."""
    return {
        "id": event.id,
        "object": "feedback",
        "created": int(event.created),
        "form": event.form,
        "labeler": event.labeler,
        "replaces": event.replaces,
        "completion_ids": event.completion_ids,
        "body": event.body,
    }


async def _entry(journal: Journal, feedback_id: str) -> str:
    entry = cast("bytes | None", await journal.redis.hget(keys.index(Feedback.kind), feedback_id))
    if entry is None or eventlog.is_erased(entry):
        raise NotFound(f"there is no judgement {feedback_id} in the list", param="after")
    return entry.decode()
