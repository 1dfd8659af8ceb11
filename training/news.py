"""What people said that no round has learnt from yet: what starts the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import redis

from feedback import keys
from feedback.corrections import Correction
from feedback.events import Feedback
from feedback.history import History


def judgements(client: redis.Redis, *, wanted: int) -> int:
    """How many judgements no snapshot has seen; corrections of moderation are none. `wanted`: how many
    start a round, for who looks on."""
    return _count_new(
        client,
        trained_key=keys.JUDGEMENTS_TRAINED,
        counted_key=keys.JUDGEMENTS_COUNTED,
        is_meant=lambda form: form != Correction.form,
        wanted=wanted,
    )


def corrections(client: redis.Redis, *, wanted: int) -> int:
    """How many corrections of moderation no snapshot has seen."""
    return _count_new(
        client,
        trained_key=keys.CORRECTIONS_TRAINED,
        counted_key=keys.CORRECTIONS_COUNTED,
        is_meant=lambda form: form == Correction.form,
        wanted=wanted,
    )


def _count_new(
    client: redis.Redis,
    *,
    trained_key: str,
    counted_key: str,
    is_meant: Callable[[str], bool],
    wanted: int,
) -> int:
    """Each is read once, when it is new: not all of them every time."""
    trained = cast("bytes | None", client.get(trained_key)) or b"-"
    counted = cast("dict[bytes, bytes]", client.hgetall(counted_key))
    count, last = 0, trained.decode()
    if counted.get(b"since") == trained:
        count, last = int(counted[b"count"]), counted[b"through"].decode()
    before = last
    for entry, event in History(client).read(Feedback.kind, after=last):
        assert isinstance(event, Feedback)
        count, last = count + is_meant(event.form), entry
    if last != before:
        seen: dict[Any, Any] = {
            "since": trained,
            "through": last,
            "count": count,
            "wanted": wanted,
        }
        client.hset(counted_key, mapping=seen)
    return count
