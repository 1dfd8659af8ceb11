"""Recovery on Redis: what it has is read, the plan is made, and written in one step that a change meanwhile undoes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

import redis

from feedback import keys
from feedback.errors import Conflict
from feedback.settings import FeedbackSettings
from moderation.versions import ON_BOARD, ModerationRecord, Versions
from serving.lineage.versions import Record
from serving.recovery import plan, told
from serving.recovery.found import Counted, OnDisk
from serving.recovery.plan import Group, Plan, Registered
from serving.registry import PREVIOUS, PRODUCTION, PolicyRecord, Registry

_SEQUENCES: Mapping[Counted, str] = {
    "policy": keys.POLICY_SEQ,
    "moderation": keys.MODERATION_SEQ,
    "round": keys.ROUND_SEQ,
}
_ALIASES: Mapping[Group, str] = {"policy": keys.ALIASES, "moderation": keys.MODERATION_ALIASES}
_WATCHED = (
    *(keys.POLICIES, keys.MODERATION_VERSIONS, keys.ROLLOUT, keys.CANARY),
    *(*_SEQUENCES.values(), *_ALIASES.values()),
)


def prepare(
    client: redis.Redis,
    disk: OnDisk,
    settings: FeedbackSettings,
    *,
    chosen: Mapping[Group, str | None],
) -> Plan:
    """What recovery would write. Raises what `plan.make` raises, and OSError while the archive is away."""
    now = registered(client, rounds=disk.rounds)
    return plan.make(disk, told.ask(client, settings), now, chosen=chosen)


def carry_out(
    client: redis.Redis,
    disk: OnDisk,
    settings: FeedbackSettings,
    *,
    chosen: Mapping[Group, str | None],
) -> Plan:
    """Make the registry anew. Repeating is harmless. Raises what `prepare` raises, and Conflict where
    somebody else writes at the same time."""
    with client.pipeline(transaction=True) as pipe:
        pipe.watch(*_WATCHED)  # type: ignore[no-untyped-call]  # of redis-py
        made = prepare(client, disk, settings, chosen=chosen)
        pipe.multi()
        for record in made.records:
            pipe.hset(_key_of(record), record.version, json.dumps(asdict(record)))
        for round_id, state in made.rounds.items():
            pipe.hset(keys.round_state(round_id), mapping=dict[Any, Any](state))
        for kind, number in made.counters.items():
            if number:
                pipe.set(_SEQUENCES[kind], number)
        for group, aliases in made.aliases.items():
            for name, version in aliases.items():
                pipe.hset(_ALIASES[group], name, version)
        if made.since is not None:
            pipe.set(keys.LIVE_SINCE, made.since)
        pipe.publish(keys.LIVE_CHANNEL, "recovered")
        try:
            pipe.execute()
        except redis.WatchError:
            raise Conflict("the registry was changed meanwhile; look, and recover again") from None
    return made


def registered(client: redis.Redis, *, rounds: Iterable[str]) -> Registered:
    """What Redis has now: of the rounds, which of these."""
    live, classifiers = Registry(client).snapshot(), Versions(client).live()
    made: dict[str, Record] = {v: r for v, r in classifiers.versions.items() if v != ON_BOARD}
    of_moderation = {PRODUCTION: classifiers.production}
    if classifiers.previous is not None:
        of_moderation[PREVIOUS] = classifiers.previous
    values = cast("list[bytes | None]", client.mget(*_SEQUENCES.values()))
    return Registered(
        records={**live.policies, **made},
        aliases={"policy": live.aliases, "moderation": of_moderation},
        counters={kind: int(value or 0) for kind, value in zip(_SEQUENCES, values, strict=True)},
        rounds=frozenset(each for each in rounds if client.exists(keys.round_state(each))),
        is_changing=live.rollout is not None or live.canary is not None,
    )


def _key_of(record: PolicyRecord | ModerationRecord) -> str:
    return keys.POLICIES if isinstance(record, PolicyRecord) else keys.MODERATION_VERSIONS
