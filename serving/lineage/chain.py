"""Versions, rounds and snapshots of one system as they are now: the part of the chain that is not in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import redis

from feedback.events import Audit
from feedback.history import History
from moderation.versions import LiveModeration, Versions
from serving.canary.state import Canary, Ended
from serving.canary.store import Canaries
from serving.lineage import deployments, held, links, round_facts, versions
from serving.lineage.deployments import Change, Tenure
from serving.lineage.graph import Edge, Key, Node
from serving.registry import BASE, Live, Registry


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Read once; folders are looked into when a node is asked for."""

    data_dir: Path
    live: Live
    moderation: LiveModeration
    canaries: tuple[Ended, ...]
    audits: tuple[Audit, ...]

    @classmethod
    def read(cls, client: redis.Redis, data_dir: Path) -> Chain:
        """Raises OSError while the archive's store is away and audits are in it."""
        return cls(
            data_dir=data_dir,
            live=Registry(client).snapshot(),
            moderation=Versions(client).live(),
            canaries=tuple(Canaries(client).history()),
            audits=_audits(client, History(client).last_entry(Audit.kind)),
        )

    @cached_property
    def records(self) -> links.Records:
        return {**self.live.policies, **self.moderation.versions}

    @cached_property
    def edges(self) -> list[Edge]:
        return links.edges(self.data_dir, self.records)

    def aliases_of(self, version: str) -> list[str]:
        """What means a version now."""
        return sorted(name for name, meant in self._aliases(version).items() if meant == version)

    def canaries_of(self, version: str) -> list[dict[str, Any]]:
        """That ran, and that runs, with a version."""
        ended = [_canary(each) for each in self.canaries if each.canary.version == version]
        running = self.live.canary
        return ended + ([_running(running)] if running and running.version == version else [])

    def node(self, key: Key, *, verify: bool, with_sample: bool) -> Node:
        """A snapshot, round or version, with what its folder says."""
        if key.kind == "snapshot":
            folder = self.data_dir / key.id
            return held.node(key, folder, verify=verify, with_sample=with_sample)
        if key.kind == "round":
            made = {v: r.digest for v, r in self.records.items() if r.round_id == key.id}
            return round_facts.node(key, self.data_dir, digests=made)
        record = self.records.get(key.id)
        if record is None:
            return versions.unknown(key.id)
        more = {
            "aliases": self.aliases_of(key.id),
            "deployments": [each.shown() for each in self._tenures.get(key.id, [])],
            "canaries": self.canaries_of(key.id),
        }
        return versions.node(record, data_dir=self.data_dir, verify=verify, more=more)

    def _aliases(self, version: str) -> Mapping[str, str | None]:
        if version in self.moderation.versions:
            return {"production": self.moderation.production, "previous": self.moderation.previous}
        return self.live.aliases

    @cached_property
    def _tenures(self) -> dict[str, list[Tenure]]:
        changes = [change for audit in self.audits if (change := deployments.change_of(audit))]
        changes += deployments.of_rounds(self.data_dir)
        base = self.live.policies.get(BASE)
        if base is not None:
            changes.append(Change(version=BASE, at=base.created, by="hone", how="first"))
        theirs = [change for change in changes if change.version in self.moderation.versions]
        ours = [change for change in changes if change.version not in self.moderation.versions]
        return {**deployments.tenures(ours), **deployments.tenures(theirs)}


@lru_cache(maxsize=4)
def _audits(client: redis.Redis, _last: str | None) -> tuple[Audit, ...]:
    """All of them; read again once there is another one."""
    events = (event for _, event in History(client).read(Audit.kind))
    return tuple(event for event in events if isinstance(event, Audit))


def _running(canary: Canary) -> dict[str, Any]:
    return {
        "id": canary.id,
        "status": canary.status,
        "share": canary.share,
        "incumbent": canary.incumbent,
        "started": canary.started,
        "by": canary.actor,
        "reason": canary.reason,
        "override": canary.override,
    }


def _canary(ended: Ended) -> dict[str, Any]:
    return {
        **_running(ended.canary),
        "status": ended.outcome,
        "ended": ended.ended,
        "ended_by": ended.actor,
        "end_reason": ended.reason,
        "verdict": ended.verdict,
    }
