"""What is to be written, or why nothing may be. Pure.

Versions: those whose folder is whole, and of rounds only those that passed their gate. Counters never go down.
Aliases: as the registry has them; else as the log says, if it reaches past the newest publication; else as the
operator says. What becomes live is always a version that passed its gate, or what was there before all rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from feedback.errors import Conflict, Refused
from moderation.versions import ON_BOARD
from serving.lineage.deployments import Change, newest
from serving.lineage.versions import Record
from serving.recovery.found import Counted, Found, OnDisk
from serving.recovery.rounds import State
from serving.recovery.told import Told
from serving.registry import BASE, PREVIOUS, PRODUCTION

Group = Literal["policy", "moderation"]
FIRST: Mapping[Group, str] = {"policy": BASE, "moderation": ON_BOARD}  # before all rounds


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What Redis has."""

    records: Mapping[str, Record]  # of both groups
    aliases: Mapping[Group, Mapping[str, str]]
    counters: Mapping[Counted, int]
    rounds: frozenset[str]  # whose state it has
    is_changing: bool  # a canary runs, or full weights are on their way


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What recovery writes."""

    records: Sequence[Record]  # that Redis does not have
    aliases: Mapping[Group, Mapping[str, str]]  # those that change
    counters: Mapping[Counted, int]  # what they become
    rounds: Mapping[str, State]  # that Redis does not have
    since: float | None  # unix seconds: production of the policy since, if known
    left_out: Sequence[Found]
    notes: Sequence[str]


class NeedsProduction(Refused):
    """Nobody knows what was live."""

    def __init__(self, group: Group, likely: str) -> None:
        option = "--production" if group == "policy" else "--moderation"
        super().__init__(
            f"the log does not say which version of {group} was live last; say it with {option} VERSION "
            f"(most likely {likely})"
        )
        self.group, self.likely = group, likely


def make(disk: OnDisk, told: Told, now: Registered, *, chosen: Mapping[Group, str | None]) -> Plan:
    """`chosen`: what is to be production, where an operator says so.

    Raises Conflict where Redis has something else than the folders, Refused for a version that must not be
    live, NeedsProduction.
    """
    if now.is_changing:
        raise Conflict(
            "a canary runs or a rollout is under way: there is a registry; end them first"
        )
    _check_agrees(disk, now)
    records = [record for name, record in disk.records.items() if name not in now.records]
    if disk.base is not None and BASE not in now.records:
        records.insert(0, disk.base)
    notes: list[str] = []
    groups: tuple[Group, ...] = ("policy", "moderation")
    aliases = {
        group: _aliases(group, disk, told, now, chosen=chosen.get(group), notes=notes)
        for group in groups
    }
    return Plan(
        records=records,
        aliases=aliases,
        rounds={name: state for name, state in disk.rounds.items() if name not in now.rounds},
        since=_since(aliases["policy"].get(PRODUCTION), [*disk.changes, *told.changes]),
        counters=counters(now.counters, disk.numbers, told.numbers),
        left_out=[each for each in disk.found if each.record is None],
        notes=notes,
    )


def counters(*numbers: Mapping[Counted, int]) -> dict[Counted, int]:
    """The highest of each: a number that was given out anywhere is never given out again."""
    kinds: tuple[Counted, ...] = ("policy", "moderation", "round")
    return {kind: max(each.get(kind, 0) for each in numbers) for kind in kinds}


def _check_agrees(disk: OnDisk, now: Registered) -> None:
    """Raises Conflict."""
    for name, record in now.records.items():
        if name == BASE:
            if disk.base_digests - {record.digest}:
                raise Conflict(
                    f"versions on disk were trained over another base model than {BASE}, which the "
                    "registry has: name their data folder, or start with their base"
                )
            continue
        found = disk.records.get(name)
        if found is None:
            raise Conflict(
                f"the registry has {name}, and no whole folder with a passed gate is there for it: this "
                "registry is not lost; nothing was changed"
            )
        if _identity(found) != _identity(record):
            raise Conflict(
                f"{name} is another one in the registry than on disk; nothing was changed"
            )


def _identity(record: Record) -> dict[str, object]:
    """All but where it lies, as this machine sees it, when it was registered, and whether it still has weights."""
    apart = ("path", "created", "removed")
    return {name: value for name, value in asdict(record).items() if name not in apart}


def _aliases(
    group: Group,
    disk: OnDisk,
    told: Told,
    now: Registered,
    *,
    chosen: str | None,
    notes: list[str],
) -> dict[str, str]:
    """Those to set. A gateway that starts over an empty registry makes the base production by itself, so
    that alone is nobody's choice."""
    has, first = now.aliases.get(group, {}), FIRST[group]
    if PREVIOUS in has or has.get(PRODUCTION, first) != first:
        if chosen not in (None, has.get(PRODUCTION)):
            raise Conflict(
                f"{has.get(PRODUCTION)} is in production, not {chosen}: `promote` changes that"
            )
        return {}
    if chosen is not None:
        production, previous = chosen, _parent(disk, chosen)
    elif not any(_is_of(group, each.version) for each in disk.found):
        return {}
    else:
        production, previous = _last(group, disk, told)
    _check_live(production, disk, first=first)
    if previous not in (None, first, *disk.gated):
        notes.append(
            f"{previous} was live before {production} and is not whole: `previous` is empty"
        )
        previous = None
    wanted = {PRODUCTION: production, **({PREVIOUS: previous} if previous else {})}
    return {name: version for name, version in wanted.items() if has.get(name) != version}


def _last(group: Group, disk: OnDisk, told: Told) -> tuple[str, str | None]:
    """What was live at the end, and before. Raises NeedsProduction where the log does not go that far."""
    published = {v: r for v, r in disk.published.items() if _is_of(group, v)}
    last = max(published, key=_number, default=None)
    if told.is_empty or (last is not None and published[last] not in told.ended):
        raise NeedsProduction(group, _likely(group, disk, last))
    changes = [each for each in (*disk.changes, *told.changes) if _is_of(group, each.version)]
    first = Change(version=FIRST[group], at=0.0, by="hone", how="first")
    production, previous = newest([first, *changes])
    assert production is not None
    return production, previous


def _since(production: str | None, changes: Sequence[Change]) -> float | None:
    return max((each.at for each in changes if each.version == production), default=None)


def _likely(group: Group, disk: OnDisk, last: str | None) -> str:
    """The version published last, if its round made it live; of one that began as a canary, which people
    may have refused, the one before it."""
    if last is None:
        return FIRST[group]
    if any(change.version == last for change in disk.changes):
        return last
    return _parent(disk, last) or FIRST[group]


def _check_live(version: str, disk: OnDisk, *, first: str) -> None:
    """Raises Refused for one that must not be live."""
    if version == first or version in disk.gated:
        return
    problem = next((each.problem for each in disk.found if each.version == version), None)
    if version in disk.records:
        problem = (
            "no round's gate passed it; recover with another one, then promote it with --override"
        )
    why = problem or "there is no folder of that name"
    raise Refused(f"{version} must not become production: {why}; name another one")


def _parent(disk: OnDisk, version: str) -> str | None:
    record = disk.records.get(version)
    return record.parent if record is not None else None


def _is_of(group: Group, version: str) -> bool:
    return version.startswith(f"{group}-")


def _number(version: str) -> int:
    return int(version.rpartition("-")[2])
