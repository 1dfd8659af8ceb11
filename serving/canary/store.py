"""A canary in the registry: begun, changed, ended, each in one step that others see whole or not at all.

Every change puts its audit record beside it in the same step; whoever comes next moves it into the log,
under the same id however often. So a process that dies between the two loses neither.
Synchronous, like the registry.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import redis

from feedback import eventlog, keys
from feedback.errors import BadRequest, Conflict, NotFound
from feedback.events import Audit, Completion, Feedback, audit, decode, encode, id_of, new_id
from serving.canary.state import (
    Canary,
    CanaryId,
    Ended,
    Limits,
    Outcome,
    Status,
    dump,
    load,
    load_ended,
)
from serving.registry import CANARY, PRODUCTION, Live, PolicyRecord

LEASE_S = 10

# KEYS: canary, canaries, aliases, channel, audits due, policies. ARGV: canary, its id, version, production expected,
# audit's id, audit. Returns {"begun"}, {"running", canary}, {"ended", record}, {"moved"} or {"removed"}.
_BEGIN = """
local ended = redis.call('HGET', KEYS[2], ARGV[2])
if ended then return {'ended', ended} end
local running = redis.call('GET', KEYS[1])
if running then return {'running', running} end
if redis.call('HGET', KEYS[3], 'production') ~= ARGV[4] then return {'moved'} end
local record = redis.call('HGET', KEYS[6], ARGV[3])
if record and type(cjson.decode(record).removed) == 'number' then return {'removed'} end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[3], 'canary', ARGV[3])
redis.call('HSET', KEYS[5], ARGV[5], ARGV[6])
redis.call('PUBLISH', KEYS[4], ARGV[3])
return {'begun'}
"""

# KEYS: canary, channel, audits due. ARGV: canary before, after, audit's id, audit. 0: it is another by now.
_CHANGE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('PUBLISH', KEYS[2], 'canary')
return 1
"""

# KEYS: canary, canaries, aliases, channel, audits due, figures, lease, since. ARGV: canary's id, record, 1 to
# promote, version, incumbent, audit's id, audit, owner of the lease ("": an operator, who needs none), now.
_END = """
local ended = redis.call('HGET', KEYS[2], ARGV[1])
if ended then return {'ended', ended} end
if ARGV[8] ~= '' and redis.call('GET', KEYS[7]) ~= ARGV[8] then return {'lost'} end
local running = redis.call('GET', KEYS[1])
if not running or cjson.decode(running)['id'] ~= ARGV[1] then return {'gone'} end
if ARGV[3] == '1' then
  local now = redis.call('HGET', KEYS[3], 'production')
  if now ~= ARGV[5] and now ~= ARGV[4] then return {'moved'} end
  if now == ARGV[5] then
    redis.call('HSET', KEYS[3], 'previous', now)
    redis.call('HSET', KEYS[3], 'production', ARGV[4])
    redis.call('SET', KEYS[8], ARGV[9])
  end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[1], KEYS[6])
if redis.call('HGET', KEYS[3], 'canary') == ARGV[4] then redis.call('HDEL', KEYS[3], 'canary') end
redis.call('HSET', KEYS[5], ARGV[6], ARGV[7])
redis.call('PUBLISH', KEYS[4], ARGV[4])
return {'done', ARGV[2]}
"""

# KEYS: lease. ARGV: owner, milliseconds. Taken, or held for longer.
_LEASE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: lease, figures. ARGV: owner, figures.
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class Canaries:
    """Reads and writes `hone:canary` and `hone:canaries`. Raises redis.ConnectionError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def running(self) -> Canary | None:
        data = cast("bytes | None", self._redis.get(keys.CANARY))
        return load(data) if data else None

    def ended(self, canary_id: str) -> Ended | None:
        data = cast("bytes | None", self._redis.hget(keys.CANARIES, canary_id))
        return load_ended(data) if data else None

    def of_round(self, round_id: str) -> Canary | None:
        """The canary that a round began, whether it runs or has ended."""
        running, ended = self.running(), self.ended(_round_s(round_id))
        if running is not None and running.round_id == round_id:
            return running
        return ended.canary if ended is not None else None

    def history(self) -> list[Ended]:
        """All that are over, the newest first."""
        found = cast("list[bytes]", self._redis.hvals(keys.CANARIES))
        return sorted(map(load_ended, found), key=lambda one: one.canary.started, reverse=True)

    def begin(
        self,
        record: PolicyRecord,
        *,
        live: Live,
        share: float,
        actor: str,
        reason: str,
        limits: Limits | None = None,
        override: str | None = None,
        round_id: str | None = None,
    ) -> Canary:
        """A version answers a share of the people from now on. The same version again: its share may grow.
        A round's canary begins once, however often it is asked for; where it has ended, that is returned.

        Raises Conflict: another one runs, production has moved, the share would shrink.
        """
        check_share(share)
        incumbent = live.policies[live.aliases[PRODUCTION]]
        canary = Canary(
            id=_round_s(round_id) if round_id else CanaryId(new_id("can_")),
            version=record.version,
            digest=record.digest,
            incumbent=incumbent.version,
            incumbent_digest=incumbent.digest,
            share=share,
            started=time.time(),
            actor=actor,
            reason=reason,
            limits=limits or Limits(),
            override=override,
            round_id=round_id,
            since={kind: self._last_entry(kind) for kind in (Completion.kind, Feedback.kind)},
        )
        change = _audit(canary, "begin", actor, reason, override=override)
        names = (
            *(keys.CANARY, keys.CANARIES, keys.ALIASES, keys.LIVE_CHANNEL, keys.AUDITS_DUE),
            keys.POLICIES,
        )
        answer, *found = self._eval(
            _BEGIN, names, dump(canary), canary.id, record.version, incumbent.version, *change
        )
        if answer == b"moved":
            raise Conflict("another version went into production just now; look, and try again")
        if answer == b"removed":
            raise Conflict(f"the weights of {record.version} were removed, for it is old")
        if answer == b"ended":
            return load_ended(found[0]).canary
        if answer == b"running":
            return self._again(load(found[0]), canary)
        return canary

    def change(
        self,
        canary: Canary,
        *,
        actor: str,
        reason: str,
        share: float | None = None,
        status: Status | None = None,
    ) -> Canary:
        """Raise the share, hold it, or let it be judged again. Changing nothing is harmless.

        Raises Conflict when it has changed or ended meanwhile.
        """
        after = replace(canary, share=share or canary.share, status=status or canary.status)
        if after == canary:
            return canary
        if after.share < canary.share:
            raise Conflict(
                f"{canary.version} answers {canary.share:.0%} of the people, and none of them may lose "
                "it while it lasts: abort it and begin anew",
                param="share",
            )
        what = "share" if after.share != canary.share else str(after.status)
        change = _audit(after, what, actor, reason)
        names = (keys.CANARY, keys.LIVE_CHANNEL, keys.AUDITS_DUE)
        if not self._eval(_CHANGE, names, dump(canary), dump(after), *change):
            raise Conflict("this canary has changed or ended meanwhile; look, and try again")
        return after

    def end(
        self,
        canary: Canary,
        outcome: Outcome,
        *,
        actor: str,
        reason: str,
        owner: str = "",
        figures: dict[str, Any] | None = None,
        verdict: dict[str, Any] | None = None,
    ) -> Ended:
        """It is over: promoted, it becomes production, else nobody gets it any more. Ending one twice
        returns how it ended first. `owner`: whose lease must hold, where no operator asks.

        Raises Conflict when production has moved under a promotion, or the lease is lost.
        """
        ended = Ended(
            canary=canary,
            outcome=outcome,
            ended=time.time(),
            actor=actor,
            reason=reason,
            figures=figures,
            verdict=verdict,
        )
        what = "promote" if outcome == "promoted" else "abort"
        change = _audit(
            canary, what, actor, reason, outcome=outcome, verdict=verdict, figures=figures
        )
        names = (
            *(keys.CANARY, keys.CANARIES, keys.ALIASES, keys.LIVE_CHANNEL, keys.AUDITS_DUE),
            *(keys.CANARY_FIGURES, keys.CANARY_LEASE, keys.LIVE_SINCE),
        )
        promotes = "1" if outcome == "promoted" else "0"
        versions = (canary.version, canary.incumbent)
        answer, *found = self._eval(
            _END,
            names,
            canary.id,
            dump(ended),
            promotes,
            *versions,
            *change,
            owner,
            str(ended.ended),
        )
        if answer == b"moved":
            raise Conflict("another version went into production meanwhile; nothing was promoted")
        if answer in (b"lost", b"gone"):
            raise Conflict("another gateway decides about this canary, or it is over")
        return load_ended(found[0])

    def lease(self, owner: str) -> bool:
        """Decide alone, for `LEASE_S` or for longer. False while another gateway does."""
        return bool(self._eval(_LEASE, (keys.CANARY_LEASE,), owner, str(LEASE_S * 1000)))

    def figures(self) -> bytes | None:
        """What was counted so far, as its keeper wrote it."""
        return cast("bytes | None", self._redis.get(keys.CANARY_FIGURES))

    def keep_figures(self, data: bytes, *, owner: str) -> bool:
        """False where the lease is another's by now."""
        names = (keys.CANARY_LEASE, keys.CANARY_FIGURES)
        return bool(self._eval(_KEEP, names, owner, data))

    def tell(self) -> int:
        """Move the audit records that wait into the log. Returns how many there were."""
        due = cast("dict[bytes, bytes]", self._redis.hgetall(keys.AUDITS_DUE))
        records = [decode(Audit.kind, data) for data in due.values()]
        for record in sorted(records, key=lambda each: each.created):
            eventlog.append(self._redis, record)
            self._redis.hdel(keys.AUDITS_DUE, record.id)
        return len(due)

    def _again(self, running: Canary, wanted: Canary) -> Canary:
        if (running.version, running.digest) != (wanted.version, wanted.digest):
            raise Conflict(
                f"{running.version} is the canary at the moment; promote or abort it first",
                code="canary_running",
            )
        if running.id == wanted.id:
            return running
        return self.change(
            running,
            actor=wanted.actor,
            reason=wanted.reason,
            share=wanted.share,
            status="running",
        )

    def _last_entry(self, kind: str) -> str:
        return eventlog.last_entry(self._redis, kind) or "0-0"

    def _eval(self, script: str, names: Sequence[str], *arguments: str | bytes) -> Any:
        return self._redis.eval(script, len(names), *names, *arguments)


def check_share(share: float) -> None:
    """Raises BadRequest."""
    if not 0 < share < 1:
        raise BadRequest(
            "share is over 0 and below 1: 0.1 is one person in ten; `promote` sends everybody",
            param="share",
        )


def find(canaries: Canaries, version: str) -> Canary:
    """The running canary, which is this version. Raises NotFound."""
    running = canaries.running()
    if running is None or running.version != version:
        raise NotFound(f"{version} is no canary at the moment", param="version")
    return running


def _round_s(round_id: str) -> CanaryId:
    digest = hashlib.sha256(f"canary:{round_id}".encode()).digest()
    return CanaryId(id_of("can_", int.from_bytes(digest[:16])))


def _audit(canary: Canary, what: str, actor: str, reason: str, **detail: Any) -> tuple[str, bytes]:
    """Id and record of a change made now. A promotion is audited as any other is."""
    event = audit(
        actor,
        "promote" if what == "promote" else f"{CANARY}.{what}",
        version=canary.version,
        digest=canary.digest,
        incumbent=canary.incumbent,
        canary=canary.id,
        share=canary.share,
        reason=reason,
        **{name: value for name, value in detail.items() if value is not None},
    )
    return event.id, encode(event)
