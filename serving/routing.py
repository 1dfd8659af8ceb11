"""Which version a model name means, and which engine answers. Pure: values in, values out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from feedback.errors import NotFound, Unavailable
from serving.canary.people import Drawn, draw
from serving.registry import CANARY, PREVIOUS, PRODUCTION, Live, PolicyRecord

MODEL = "policy"
ALIASES = (PRODUCTION, CANARY, PREVIOUS)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model name, resolved."""

    record: PolicyRecord
    alias: str | None  # None: the version was asked for by its own name
    drawn: Drawn | None = None  # while a canary runs: the arm of whoever asked for `policy`

    @property
    def version(self) -> str:
        return self.record.version

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the version and the beginning of its digest."""
        return f"{self.record.version}-{self.record.digest[:8]}"


class Candidate(Protocol):
    """What `pick` needs to know of an engine."""

    url: str
    in_flight: int  # requests of this gateway

    def can_serve(self, version: str) -> bool: ...

    def has_room(self) -> bool: ...


C = TypeVar("C", bound=Candidate)

_AFFINITY_SLACK = 4  # requests in flight that a warm prefix cache is worth


def resolve(
    model: str,
    live: Live,
    *,
    person: str | None = None,
    has: Callable[[str], bool] = lambda version: True,
) -> Target:
    """The version behind `policy`, `policy@<alias>` or `policy-0007`. Raises NotFound; Unavailable where
    this gateway has just started and the registry, or the first engine, is not there yet.

    `policy` alone is the canary for those `person`s who are drawn for it, while some engine `has` it.
    """
    if live.resolve(PRODUCTION) is None:  # a 404 would tell a right name to give up
        raise Unavailable("no version is in production yet; try again soon", retry_after_s=2)
    name, _, alias = model.partition("@")
    if model == MODEL and person is not None and live.canary is not None:
        target = _drawn(live, draw(person, live.canary), has)
        if target is not None:
            return target
    if name == MODEL:
        alias = alias or PRODUCTION
        record = live.policies.get(live.aliases.get(alias, ""))
        if alias in ALIASES and record is not None:
            return Target(record=record, alias=alias)
    elif (named := live.policies.get(model)) is not None:
        if named.removed is not None:
            raise NotFound(
                f"{model} is old and its weights were removed; GET /v1/models lists what there is",
                param="model",
                code="model_not_found",
            )
        return Target(record=named, alias=None)
    raise NotFound(
        f"there is no model '{model}' here; GET /v1/models lists what there is",
        param="model",
        code="model_not_found",
    )


def _drawn(live: Live, drawn: Drawn, has: Callable[[str], bool]) -> Target | None:
    """None: production answers, and it is no comparison."""
    alias = CANARY if drawn.arm == "canary" else PRODUCTION
    record = live.policies.get(live.aliases.get(alias, ""))
    canary = live.canary
    if record is None or canary is None:
        return None
    compared = canary.version if alias == CANARY else canary.incumbent
    if record.version != compared or (alias == CANARY and not has(record.version)):
        return None
    return Target(record=record, alias=alias, drawn=drawn)


def pick(
    engines: Iterable[C], version: str, *, session: bytes = b"", avoid: Collection[str] = ()
) -> C | None:
    """An engine that has the version loaded, and room: of those with about the fewest requests in
    flight the one that this session had before, since its prefix cache knows the conversation.

    `avoid`: URLs that failed this request already; taken only when there is no other.
    """
    able = [engine for engine in engines if engine.can_serve(version) and engine.has_room()]
    able = [engine for engine in able if engine.url not in avoid] or able
    if len(able) <= 1:
        return able[0] if able else None
    fewest = min(engine.in_flight for engine in able)
    near = [engine for engine in able if engine.in_flight <= fewest + _AFFINITY_SLACK]
    if not session:
        return min(near, key=lambda engine: engine.in_flight)
    # Rendezvous hashing: an engine that comes or goes moves only its own sessions.
    return max(near, key=lambda engine: zlib.crc32(engine.url.encode() + session))


def wanted_versions(live: Live) -> list[PolicyRecord]:
    """What every engine should have loaded, the most needed first.

    Full weights replace one another in an engine, and leave no base for adapters, so only production
    may ask for them, and nothing is wanted beside them.
    """
    production = live.policies.get(live.aliases.get(PRODUCTION, ""))
    if production is not None and production.kind == "full":
        return [production]
    wanted: dict[str, PolicyRecord] = {}
    for alias in ALIASES:
        record = live.policies.get(live.aliases.get(alias, ""))
        if record is not None and (alias == PRODUCTION or record.kind == "adapter"):
            wanted.setdefault(record.version, record)
    return list(wanted.values())


def ready_with(live: Live) -> list[str]:
    """Versions of which an engine needs one to count as started: what production means, or is about to."""
    coming = [live.rollout.version] if live.rollout is not None else []
    production = live.aliases.get(PRODUCTION)
    return [production, *coming] if production is not None else []
