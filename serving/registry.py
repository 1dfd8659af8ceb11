"""Which policy versions there are, and which of them the aliases mean. Kept in Redis.

Synchronous: workers and the CLI call it as it is, the gateway from a thread.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import cast

import redis

from feedback import keys
from feedback.errors import Conflict, NotFound
from feedback.events import Version

BASE = Version("policy-0000")
PRODUCTION, CANARY, PREVIOUS = "production", "canary", "previous"

# KEYS: aliases, channel. ARGV: version. Sets production, and previous to what production was.
# Repeating is harmless.
_PROMOTE = """
local old = redis.call('HGET', KEYS[1], 'production')
if old == ARGV[1] then return old end
if old then redis.call('HSET', KEYS[1], 'previous', old) end
redis.call('HSET', KEYS[1], 'production', ARGV[1])
redis.call('PUBLISH', KEYS[2], ARGV[1])
return old
"""


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """One version. Written once, by whoever publishes it."""

    version: str
    kind: str  # base | adapter | full
    path: str  # folder of the weights, as the engines see it
    digest: str
    parent: str | None = None
    round_id: str | None = None
    created: float  # unix seconds


@dataclass(frozen=True, kw_only=True)
class Live:
    """The registry at one moment."""

    policies: dict[str, PolicyRecord]
    aliases: dict[str, str]  # alias -> version

    def resolve(self, name: str) -> PolicyRecord | None:
        """The version that a name means: an alias, or a version."""
        return self.policies.get(self.aliases.get(name, name))


class Registry:
    """Reads and writes `hone:policies` and `hone:aliases`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def snapshot(self) -> Live:
        """Policies and aliases as of one moment."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall(keys.POLICIES)
        pipe.hgetall(keys.ALIASES)
        policies, aliases = pipe.execute()
        return Live(
            policies={
                name.decode(): PolicyRecord(**json.loads(data)) for name, data in policies.items()
            },
            aliases={name.decode(): version.decode() for name, version in aliases.items()},
        )

    def policies(self) -> dict[str, PolicyRecord]:
        return self.snapshot().policies

    def aliases(self) -> dict[str, str]:
        return self.snapshot().aliases

    def get(self, version: str) -> PolicyRecord:
        """Raises NotFound."""
        data = cast("bytes | None", self._redis.hget(keys.POLICIES, version))
        if data is None:
            raise NotFound(
                f"there is no {version}; `hone policies list` shows what there is", param="version"
            )
        return PolicyRecord(**json.loads(data))

    def next_version(self) -> Version:
        """A number that was never given out before."""
        return Version(f"policy-{self._redis.incr(keys.POLICY_SEQ):04d}")

    def add(self, record: PolicyRecord) -> None:
        """Publish a version. Never overwrites: the same record again is accepted, another one
        refused."""
        if self._redis.hsetnx(keys.POLICIES, record.version, json.dumps(asdict(record))):
            return
        if self.get(record.version).digest != record.digest:
            raise Conflict(f"{record.version} is published already, with other weights")

    def ensure_base(self, path: str, digest: str) -> PolicyRecord:
        """Register the base model, as an engine reports it (`base` in `GET /policy`), as
        policy-0000 and,
        where nothing is in production yet, promote it.

        Raises Conflict when this data belongs to another base model.
        """
        if self._redis.hexists(keys.POLICIES, BASE):
            record = self.get(BASE)
            if record.digest != digest:
                raise Conflict(
                    f"this data was made with another base model ({record.path}); "
                    "start with that one, or with another --data folder"
                )
            return record
        record = PolicyRecord(
            version=BASE, kind="base", path=path, digest=digest, created=time.time()
        )
        self.add(record)
        self._redis.hsetnx(keys.ALIASES, PRODUCTION, BASE)
        return record

    def promote(self, version: str) -> str | None:
        """Make a version `production`, and what was it `previous`. Returns what it was."""
        self.get(version)
        old = cast(
            "bytes | None", self._redis.eval(_PROMOTE, 2, keys.ALIASES, keys.LIVE_CHANNEL, version)
        )
        return old.decode() if old else None

    def rollback(self) -> str:
        """Make `previous` production again. Returns the version now in production."""
        previous = cast("bytes | None", self._redis.hget(keys.ALIASES, PREVIOUS))
        if previous is None:
            raise Conflict("there is no previous version to roll back to")
        self.promote(previous.decode())
        return previous.decode()
