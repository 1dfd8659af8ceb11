"""From an id to all that it comes from (backward), or all that it went into (forward).

1. What is the id: an answer, a judgement, an end user, a snapshot, a round, a version, an alias?
2. What is not in folders and registry comes from the log: what an answer was given by, who spoke about it.
3. The walk. 4. Each thing that was reached says what its folder holds, and what is broken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from feedback.errors import BadRequest, NotFound
from feedback.events import IMPORTED, Completion, Feedback
from serving.lineage import held, links
from serving.lineage.chain import Chain
from serving.lineage.graph import (
    Break,
    Direction,
    Edge,
    Key,
    Node,
    Touched,
    between,
    touched,
    walk,
)
from serving.lineage.said import Log, Missing

_SHOWN = 100  # judgements about one answer that are named
_ANSWER = (
    *("created", "tenant", "end_user", "version", "version_last", "digest", "is_imported"),
    *("prompt_of", "trace_id"),
)
_JUDGEMENT = (
    *("created", "tenant", "form", "labeler", "source", "replaces"),
    "completion_ids",
)
_PERSON = "user:"
_MISSING: Mapping[Missing, str] = {
    "erased": "was erased: what was made with it before stays provable, its text is gone",
    "unknown": "is not in the log, though a snapshot holds it: the log is younger, or was lost",
    "away": "is in the archive, whose store does not answer; try again",
}


@dataclass(frozen=True, kw_only=True)
class Trail:
    """The chain from one id in one direction."""

    start: Key
    direction: Direction
    steps: Mapping[Key, int]  # from the start
    num_steps: int  # things that are reached; fewer are in `steps` where a limit was given
    nodes: Mapping[Key, Node]
    edges: list[Edge]
    touched: Touched | None  # forward: the versions that it went into
    live: Mapping[str, list[str]]  # version -> aliases that mean it now, where any do

    @property
    def breaks(self) -> list[Break]:
        return [each for key in self.steps for each in self.nodes[key].breaks]

    def shown(self) -> dict[str, Any]:
        """As the API has it, nearest first."""
        return {
            "object": "lineage",
            "id": self.start.id,
            "kind": self.start.kind,
            "direction": self.direction,
            "is_whole": not self.breaks,
            "nodes": [_shown(self.nodes[key], step) for key, step in self.steps.items()],
            "edges": [
                {"source": str(edge.source), "target": str(edge.target), "what": edge.what}
                for edge in self.edges
            ],
            "breaks": [
                {"node": str(each.node), "what": each.what, "message": each.message}
                for each in self.breaks
            ],
            "trained_versions": sorted(self.touched.trained) if self.touched else [],
            "later_versions": sorted(self.touched.later) if self.touched else [],
            "live": dict(self.live),
        }


def trace(
    client: redis.Redis,
    data_dir: Path,
    asked: str,
    *,
    direction: Direction = "backward",
    tenant: str = "default",
    only_tenant: str | None = None,
    verify: bool = False,
    limit: int | None = None,
) -> Trail:
    """`tenant`: of an end user, `user:NAME`. `limit`: only the nearest so many are looked into, and shown.
    `only_tenant`: others' answers, judgements and people are not found. `verify`: every file on the way is
    hashed.

    Raises NotFound, BadRequest for an end user backward, OSError while the archive's store is away.
    """
    chain = Chain.read(client, data_dir)
    start = _start(asked, chain, tenant=tenant)
    seen = _Seen(chain, Log(client), only_tenant=only_tenant)
    seen.look(start, direction)
    edges = [*chain.edges, *seen.edges]
    reached = walk(edges, [start], direction=direction)
    steps = dict(islice(reached.items(), limit))
    is_operator = only_tenant is None
    nodes = {
        key: seen.nodes.get(key) or chain.node(key, verify=verify, with_sample=is_operator)
        for key in steps
    }
    versions = (key.id for key in steps if key.kind == "version")
    return Trail(
        start=start,
        direction=direction,
        steps=steps,
        num_steps=len(reached),
        nodes=nodes,
        edges=between(edges, steps),
        touched=touched(edges, [start]) if direction == "forward" else None,
        live={version: names for version in versions if (names := chain.aliases_of(version))},
    )


def _start(asked: str, chain: Chain, *, tenant: str) -> Key:
    if asked.startswith(_PERSON):
        return Key("person", f"{tenant}/{asked.removeprefix(_PERSON)}")
    if asked.startswith(("chatcmpl-", "cmpl-")):
        return Key("completion", asked)
    if asked.startswith("fbk_"):
        return Key("judgement", asked)
    version = chain.live.aliases.get(asked, asked)
    if version in chain.records:
        return Key("version", version)
    for key in _snapshots_named(asked, chain.data_dir):
        return key
    for key in (Key("round", asked), Key("version", asked)):
        if any(key in (edge.source, edge.target) for edge in chain.edges):
            return key
    raise NotFound(
        f"there is no {asked}: it is the id of an answer, a judgement (fbk_…), a version, a round or a "
        "snapshot, an alias, or user:NAME for an end user",
        param="id",
    )


def _snapshots_named(asked: str, data_dir: Path) -> list[Key]:
    keys = [links.snapshot_key(data_dir, folder) for folder in links.snapshots(data_dir)]
    names = (asked, f"snapshots/{asked}", f"rounds/{asked}")
    return [key for key in keys if key.id in names]


class _Seen:
    """What the log, and the rows of snapshots, say of the start."""

    def __init__(self, chain: Chain, log: Log, *, only_tenant: str | None) -> None:
        self._chain = chain
        self._log = log
        self._only_tenant = only_tenant
        self.nodes: dict[Key, Node] = {}
        self.edges: list[Edge] = []

    def look(self, start: Key, direction: Direction) -> None:
        if start.kind == "person":
            if direction == "backward":
                raise BadRequest("of an end user ask what their words went into: forward")
            self._person(start)
        elif start.kind == "completion":
            self._completion(start, direction)
        elif start.kind == "judgement":
            self._judgement(start, direction)

    def _completion(self, key: Key, direction: Direction) -> None:
        found = self._log.completion(key.id)
        if isinstance(found, Completion):
            self._check(key, found.tenant)
            self._answered(key, found)
        if direction == "forward":
            about = self._log.judgements_about(found) if isinstance(found, Completion) else []
            for event in about[:_SHOWN]:
                judgement = Key("judgement", event.id)
                self.nodes[judgement] = Node(key=judgement, facts=_some(event, _JUDGEMENT))
                self.edges.append(Edge(source=key, target=judgement, what="judged by"))
            ids = {key.id, *(event.id for event in about)}
            self._held(ids, by_default=key, named={event.id for event in about[:_SHOWN]})
        if not isinstance(found, Completion):
            self._missing(key, found)

    def _answered(self, key: Key, found: Completion) -> None:
        """Which versions gave it, and whether they still have the weights that they had."""
        breaks = []
        of = () if found.is_imported else dict.fromkeys((found.version, found.version_last))
        for version in of:
            self.edges.append(Edge(source=Key("version", version), target=key, what="answered"))
        record = self._chain.records.get(found.version)
        if record is not None and found.digest and record.digest != found.digest:
            message = (
                f"{key.id} was answered by weights {found.digest[:12]}…, {found.version} has "
                f"{record.digest[:12]}… now"
            )
            breaks.append(Break(node=key, what="differs", message=message))
        self.nodes[key] = Node(key=key, facts=_facts_of_answer(found), breaks=tuple(breaks))

    def _judgement(self, key: Key, direction: Direction) -> None:
        found = self._log.judgement(key.id)
        if isinstance(found, Feedback):
            self._check(key, found.tenant)
            self.nodes[key] = Node(key=key, facts=_some(found, _JUDGEMENT))
        if direction == "forward":
            self._held({key.id}, by_default=key, named=set())
        elif isinstance(found, Feedback):
            for completion_id in dict.fromkeys(found.completion_ids):
                about = Key("completion", completion_id)
                self.edges.append(Edge(source=about, target=key, what="judged by"))
                self._completion(about, direction)
        if not isinstance(found, Feedback):
            self._missing(key, found)

    def _person(self, key: Key) -> None:
        tenant, _, user = key.id.partition("/")
        self._check(key, tenant)
        words = self._log.words_of(tenant=tenant, user=user)
        ids = words.completions | words.judgements | words.about
        if not ids:
            raise NotFound(f"the log has nothing of {user} of {tenant}, or no more", param="id")
        facts = {name: len(found) for name, found in vars(words).items()}
        self.nodes[key] = Node(key=key, facts=facts)
        self._held(ids, by_default=key, named=set())

    def _held(self, ids: Collection[str], *, by_default: Key, named: Collection[str]) -> None:
        """Edges to the snapshots that hold any of them: from the judgement, if it is a node."""
        data_dir = self._chain.data_dir
        for folder, found in held.holders(links.snapshots(data_dir), ids).items():
            snapshot = links.snapshot_key(data_dir, folder)
            sources = {Key("judgement", each) if each in named else by_default for each in found}
            for source in sorted(sources):
                self.edges.append(Edge(source=source, target=snapshot, what="is in"))

    def _missing(self, key: Key, why: Missing) -> None:
        """Raises NotFound where nothing at all is known of it."""
        is_held = any(edge.source == key for edge in self.edges)
        is_named = any(edge.target.kind == "judgement" for edge in self.edges)
        if self._only_tenant is not None or (why == "unknown" and not (is_held or is_named)):
            raise NotFound(f"there is no {key.id}, or it is not yours", param="id")
        broken = Break(node=key, what=why, message=f"{key.id} {_MISSING[why]}")
        self.nodes[key] = Node(key=key, breaks=(broken,))

    def _check(self, key: Key, tenant: str) -> None:
        if self._only_tenant not in (None, tenant):
            raise NotFound(f"there is no {key.id}, or it is not yours", param="id")


def _facts_of_answer(found: Completion) -> dict[str, Any]:
    is_mixed = found.version != IMPORTED and found.is_mixed
    return {**_some(found, _ANSWER), "is_mixed": is_mixed, "is_complete": found.complete}


def _some(found: Completion | Feedback, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(found, name) for name in names}


def _shown(node: Node, step: int) -> dict[str, Any]:
    return {
        "key": str(node.key),
        "kind": node.key.kind,
        "id": node.key.id,
        "steps": step,
        "facts": dict(node.facts),
        "is_broken": bool(node.breaks),
    }
