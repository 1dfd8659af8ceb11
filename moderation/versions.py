"""Versions of our classifier that rounds have made, and which of them serves. Kept in Redis; no numpy.

Synchronous: workers and commands call it as it is, servers from a thread.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import redis

from feedback import keys
from feedback.errors import Conflict, NotFound

ON_BOARD = "moderation-0000"  # what is installed, or what HONE_MODERATION_HEADS names

# KEYS: aliases. ARGV: version, what serves where nothing was said. Repeating is harmless.
_PROMOTE = """
local old = redis.call('HGET', KEYS[1], 'production') or ARGV[2]
if old ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'production', ARGV[1], 'previous', old)
end
"""

# KEYS: aliases. ARGV: version that is withdrawn, production and previous before it ("" = none).
_UNDO = """
if redis.call('HGET', KEYS[1], 'production') ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'production', ARGV[2])
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], 'previous')
else redis.call('HSET', KEYS[1], 'previous', ARGV[3]) end
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


class Versions:
    """Reads and writes `hone:moderation_versions` and `hone:moderation_aliases`."""

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

    def promote(self, version: str) -> ModerationRecord:
        """Every server is to serve it; what serves now becomes `previous`. Raises NotFound."""
        record = self.get(version)
        self._redis.eval(_PROMOTE, 1, keys.MODERATION_ALIASES, version, ON_BOARD)
        return record

    def undo(self, version: str, *, before: LiveModeration) -> None:
        """The aliases mean what they meant before this version, unless they mean another one by now."""
        names = (before.production, before.previous or "")
        self._redis.eval(_UNDO, 1, keys.MODERATION_ALIASES, version, *names)

    def roll_back(self) -> ModerationRecord:
        """The previous one serves again. Raises Conflict when there is none."""
        previous = self.live().previous
        if previous is None:
            raise Conflict("there is no previous version of moderation to roll back to")
        return self.promote(previous)
