"""Which policy versions there are, and which of them the aliases mean. Kept in Redis.

Synchronous: workers and the CLI call it as it is, the gateway from a thread.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from feedback import keys
from feedback.errors import Conflict, NotFound
from feedback.events import Version
from serving.canary import state
from serving.canary.state import Canary

BASE = Version("policy-0000")
PRODUCTION, CANARY, PREVIOUS = "production", "canary", "previous"

# KEYS: aliases, channel, since, policies. ARGV: version, now. Sets production, and previous to what production was.
# Repeating is harmless.
_PROMOTE = """
local record = redis.call('HGET', KEYS[4], ARGV[1])
if record and type(cjson.decode(record).removed) == 'number' then return '' end
local old = redis.call('HGET', KEYS[1], 'production')
if old == ARGV[1] then return old end
if old then redis.call('HSET', KEYS[1], 'previous', old) end
redis.call('HSET', KEYS[1], 'production', ARGV[1])
redis.call('SET', KEYS[3], ARGV[2])
redis.call('PUBLISH', KEYS[2], ARGV[1])
return old
"""

# KEYS: aliases, channel, rollout, since. ARGV: production, previous ("" = none), now. The rollout is over.
_RESTORE = """
if redis.call('HGET', KEYS[1], 'production') ~= ARGV[1] then redis.call('SET', KEYS[4], ARGV[3]) end
redis.call('HSET', KEYS[1], 'production', ARGV[1])
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'previous')
else redis.call('HSET', KEYS[1], 'previous', ARGV[2]) end
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', KEYS[2], ARGV[1])
"""

# KEYS: policies, aliases, rollout, canary. ARGV: version, its record before, and after. 0: it is meant by something,
# or another record by now.
_RETIRE = """
for _, version in ipairs(redis.call('HVALS', KEYS[2])) do if version == ARGV[1] then return 0 end end
for i = 3, 4 do
    local busy = redis.call('GET', KEYS[i])
    if busy and string.find(busy, '"' .. ARGV[1] .. '"', 1, true) then return 0 end
end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

# KEYS: lease. ARGV: owner.
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """One version. Written once, by whoever publishes it; retention adds `removed`."""

    version: str
    kind: str  # base | adapter | full
    path: str  # folder of the weights, as the engines see it
    digest: str
    parent: str | None = None
    round_id: str | None = None
    created: float  # unix seconds
    removed: float | None = None  # unix seconds: its weights are gone, and it never serves again


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Full weights on their way to the engines. Written by the gateway that holds the lease."""

    version: str
    production: str  # what the aliases meant before, and mean again if an engine refuses
    previous: str | None
    started: float  # unix seconds
    held: tuple[str, ...] = ()  # URLs of engines that get no requests, so that they can reload


@dataclass(frozen=True, kw_only=True)
class Live:
    """The registry at one moment."""

    policies: dict[str, PolicyRecord]
    aliases: dict[str, str]  # alias -> version
    rollout: Rollout | None = None
    canary: Canary | None = None  # that runs, or is held
    production_since: float | None = None  # unix seconds; None: a release that did not note it

    def resolve(self, name: str) -> PolicyRecord | None:
        """The version that a name means: an alias, or a version."""
        return self.policies.get(self.aliases.get(name, name))

    def without(self, version: str) -> Live:
        """As if it had been rolled back: no canary, or the previous version in production."""
        aliases, canary = dict(self.aliases), self.canary
        if aliases.get(CANARY) == version:
            del aliases[CANARY]
        if canary is not None and canary.version == version:
            canary = None
        if aliases.get(PRODUCTION) == version and PREVIOUS in aliases:
            aliases |= {PRODUCTION: aliases[PREVIOUS], PREVIOUS: version}
        return replace(self, aliases=aliases, canary=canary)


class Registry:
    """Reads and writes `hone:policies` and `hone:aliases`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def snapshot(self) -> Live:
        """Policies and aliases as of one moment."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall(keys.POLICIES)
        pipe.hgetall(keys.ALIASES)
        pipe.get(keys.ROLLOUT)
        pipe.get(keys.CANARY)
        pipe.get(keys.LIVE_SINCE)
        policies, aliases, rollout, canary, since = pipe.execute()
        return Live(
            policies={
                name.decode(): PolicyRecord(**json.loads(data)) for name, data in policies.items()
            },
            aliases={name.decode(): version.decode() for name, version in aliases.items()},
            rollout=_rollout(rollout) if rollout else None,
            canary=state.load(canary) if canary else None,
            production_since=float(since) if since else None,
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
        else:
            record = PolicyRecord(
                version=BASE, kind="base", path=path, digest=digest, created=time.time()
            )
            self.add(record)
        # Also of a known one: whoever registered it may have died before this.
        if self._redis.hsetnx(keys.ALIASES, PRODUCTION, BASE):
            self._redis.set(keys.LIVE_SINCE, time.time())
        return record

    def promote(self, version: str) -> str | None:
        """Make a version `production`, and what was it `previous`. Returns what it was. Raises NotFound, and
        Conflict where its weights are gone."""
        check_there(self.get(version))
        names = (keys.ALIASES, keys.LIVE_CHANNEL, keys.LIVE_SINCE, keys.POLICIES)
        reply = self._redis.eval(_PROMOTE, len(names), *names, version, str(time.time()))
        old = cast("bytes | None", reply)
        if old == b"":
            check_there(self.get(version))
        return old.decode() if old else None

    def retire(self, version: str, *, now: float) -> bool:
        """Mark a version's weights as removed; whoever asks deletes them then. False: an alias, a canary or a
        rollout means it, or it is marked already."""
        data = cast("bytes | None", self._redis.hget(keys.POLICIES, version))
        if data is None or (record := PolicyRecord(**json.loads(data))).removed is not None:
            return False
        after = json.dumps(asdict(replace(record, removed=now)))
        names = (keys.POLICIES, keys.ALIASES, keys.ROLLOUT, keys.CANARY)
        return bool(self._redis.eval(_RETIRE, len(names), *names, version, data, after))

    def begin_rollout(self, version: str) -> Rollout:
        """Full weights are on their way. Raises Conflict while others are, or where they are gone."""
        live = self.snapshot()
        rollout = Rollout(
            version=version,
            production=live.aliases[PRODUCTION],
            previous=live.aliases.get(PREVIOUS),
            started=time.time(),
        )
        if not self._redis.set(keys.ROLLOUT, json.dumps(asdict(rollout)), nx=True):
            raise Conflict("other weights are on their way to the engines; try again in a minute")
        try:
            check_there(self.get(version))
        except Conflict:  # retention marked it just before
            self.end_rollout()
            raise
        return rollout

    def hold(self, rollout: Rollout, *urls: str) -> None:
        """No requests for these engines; for all others again."""
        held = json.dumps(asdict(replace(rollout, held=urls)))
        self._redis.set(keys.ROLLOUT, held, xx=True)
        self._redis.publish(keys.LIVE_CHANNEL, rollout.version)

    def end_rollout(self) -> None:
        """All engines have the weights."""
        self._redis.delete(keys.ROLLOUT)

    def undo_rollout(self, rollout: Rollout) -> None:
        """The aliases mean what they meant before it."""
        names = (keys.ALIASES, keys.LIVE_CHANNEL, keys.ROLLOUT, keys.LIVE_SINCE)
        before = (rollout.production, rollout.previous or "", str(time.time()))
        self._redis.eval(_RESTORE, len(names), *names, *before)

    def lease_rollout(self, owner: str, *, ttl_s: int) -> bool:
        """Have the rollout for oneself, or for longer. False while another gateway has it."""
        if self._redis.set(keys.ROLLOUT_LEASE, owner, ex=ttl_s, nx=True):
            return True
        if self._redis.get(keys.ROLLOUT_LEASE) != owner.encode():
            return False
        return bool(self._redis.expire(keys.ROLLOUT_LEASE, ttl_s))

    def release_rollout(self, owner: str) -> None:
        """For whoever comes next; a lease that another one has by now stays."""
        self._redis.eval(_RELEASE, 1, keys.ROLLOUT_LEASE, owner)


def check_there(record: PolicyRecord) -> None:
    """Raises Conflict for a version whose weights retention has removed."""
    if record.removed is not None:
        raise Conflict(
            f"the weights of {record.version} were removed, for it is old (HONE_TRAINING_KEEP_VERSIONS); "
            "its card, gate report and lineage are kept",
            param="version",
        )


def _rollout(data: bytes) -> Rollout:
    fields = json.loads(data)
    return Rollout(**{**fields, "held": tuple(fields["held"])})
