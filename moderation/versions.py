"""Versions of our classifier that rounds have made, and which of them serves. Kept in Redis; no numpy.

Synchronous: workers and commands call it as it is, servers from a thread.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import cast

import redis

from feedback import keys
from feedback.errors import Conflict, NotFound

ON_BOARD = "moderation-0000"  # what is installed, or what HONE_MODERATION_HEADS names

_HISTORY = 200  # changes that are kept; all of them are in the log

# KEYS: aliases, history. ARGV: what serves where nothing was said, the change as JSON, how many changes are kept,
# version, the one that it takes over from ("" = whichever). Repeating is harmless. Returns what serves.
_PROMOTE = """
local old = redis.call('HGET', KEYS[1], 'production') or ARGV[1]
if ARGV[5] ~= '' and old ~= ARGV[5] then return old end
if old ~= ARGV[4] then
  redis.call('HSET', KEYS[1], 'production', ARGV[4], 'previous', old)
  redis.call('LPUSH', KEYS[2], ARGV[2])
  redis.call('LTRIM', KEYS[2], 0, ARGV[3] - 1)
end
return ARGV[4]
"""

# KEYS: aliases, history. ARGV: version that is withdrawn, production and previous before it ("" = none), the change.
_UNDO = """
if redis.call('HGET', KEYS[1], 'production') ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'production', ARGV[2])
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], 'previous')
else redis.call('HSET', KEYS[1], 'previous', ARGV[3]) end
redis.call('LPUSH', KEYS[2], ARGV[4])
"""


@dataclass(frozen=True, kw_only=True)
class ModerationRecord:
    """One version. Written once, by the round that publishes it."""

    version: str
    path: str | None  # its folder, as the moderation servers see it; None: on board
    digest: str
    parent: str | None = None
    round_id: str | None = None
    created: float = 0.0  # unix seconds


@dataclass(frozen=True, kw_only=True)
class LiveModeration:
    """The versions at one moment."""

    versions: dict[str, ModerationRecord]
    production: str
    previous: str | None

    @property
    def wanted(self) -> ModerationRecord:
        """What every server should serve."""
        return self.versions[self.production]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Another version was made to serve. Written with the alias, in one step."""

    version: str
    by: str  # a key's id, cli:NAME, or the round that published it
    reason: str
    created: float  # unix seconds


class Versions:
    """Reads and writes `hone:moderation_versions`, `…_aliases` and `…_history`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def live(self) -> LiveModeration:
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall(keys.MODERATION_VERSIONS)
        pipe.hgetall(keys.MODERATION_ALIASES)
        stored, aliases = pipe.execute()
        on_board = ModerationRecord(version=ON_BOARD, path=None, digest="")
        made = {
            name.decode(): ModerationRecord(**json.loads(data)) for name, data in stored.items()
        }
        previous = aliases.get(b"previous")
        return LiveModeration(
            versions={ON_BOARD: on_board, **dict(sorted(made.items()))},
            production=aliases.get(b"production", ON_BOARD.encode()).decode(),
            previous=previous.decode() if previous else None,
        )

    def get(self, version: str) -> ModerationRecord:
        """Raises NotFound."""
        found = self.live().versions.get(version)
        if found is None:
            raise NotFound(
                f"there is no {version}; `hone moderation versions` shows what there is",
                param="version",
            )
        return found

    def next(self) -> str:
        """A number that was never given out before."""
        return f"moderation-{self._redis.incr(keys.MODERATION_SEQ):04d}"

    def add(self, record: ModerationRecord) -> None:
        """Publish a version. The same record again is accepted, another one of its name refused."""
        if self._redis.hsetnx(keys.MODERATION_VERSIONS, record.version, json.dumps(asdict(record))):
            return
        if self.get(record.version).digest != record.digest:
            raise Conflict(f"{record.version} is published already, with other weights")

    def history(self, *, count: int = _HISTORY) -> list[Change]:
        """Which version was made to serve when, by whom and why; newest first."""
        rows = cast("list[bytes]", self._redis.lrange(keys.MODERATION_HISTORY, 0, count - 1))
        return [Change(**json.loads(row)) for row in rows]

    def promote(self, version: str, *, by: str, reason: str = "") -> ModerationRecord:
        """Every server is to serve it; what serves now becomes `previous`. Raises NotFound."""
        record = self.get(version)
        self._promote(version, by=by, reason=reason)
        return record

    def undo(self, version: str, *, before: LiveModeration, by: str, reason: str) -> None:
        """The aliases mean what they meant before this version, unless they mean another one by now."""
        names = (before.production, before.previous or "")
        change = _change(before.production, by=by, reason=reason)
        held = (keys.MODERATION_ALIASES, keys.MODERATION_HISTORY)
        self._redis.eval(_UNDO, len(held), *held, version, *names, change)

    def roll_back(
        self, *, by: str, reason: str = "", production: str | None = None
    ) -> ModerationRecord:
        """The previous one serves again. With `production` it takes over from that one, so that asking twice is
        asking once. Raises Conflict when there is none, or another one than `production` serves by now."""
        live = self.live()
        if live.previous is None:
            raise Conflict("there is no previous version of moderation to roll back to")
        bad = production or live.production
        record = self.get(live.previous)
        now = self._promote(record.version, by=by, reason=reason, instead_of=bad)
        if now != record.version:
            raise Conflict(f"{now} serves by now, not {bad}: nothing was changed")
        return record

    def _promote(self, version: str, *, by: str, reason: str, instead_of: str = "") -> str:
        held = (keys.MODERATION_ALIASES, keys.MODERATION_HISTORY)
        change = _change(version, by=by, reason=reason)
        options = (ON_BOARD, change, _HISTORY, version, instead_of)
        return cast("bytes", self._redis.eval(_PROMOTE, len(held), *held, *options)).decode()


def _change(version: str, *, by: str, reason: str) -> str:
    made = Change(version=version, by=by, reason=reason, created=time.time())
    return json.dumps(asdict(made))
