"""Who made which version live, and how long it was.

Kept twice: in the log, where an operator or a canary did it, and in a round's folder, where the round did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feedback.events import Audit
from serving.lineage import round_facts

_ACTIONS = ("promote", "rollback")
MODERATION = "moderation."  # before the action, of versions of the classifier


@dataclass(frozen=True, kw_only=True)
class Change:
    """A version went live."""

    version: str
    at: float  # unix seconds
    by: str  # an API key's id, `cli:<user>`, `canary`, or a round's id
    how: str  # promote | rollback | round | first: the base, before anything else
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tenure:
    """How long a version was live."""

    change: Change
    until: float | None  # unix seconds; None: it is, or nobody knows
    ended_by: Change | None

    def shown(self) -> dict[str, Any]:
        began = asdict(self.change)
        del began["version"]
        ended = asdict(self.ended_by) if self.ended_by is not None else None
        return {**began, "until": self.until, "ended_by": ended}


def change_of(event: Audit) -> Change | None:
    """What a record of the log says about what is live; None where it says nothing of it."""
    action = event.action.removeprefix(MODERATION)
    version = event.detail.get("version")
    if action not in _ACTIONS or not isinstance(version, str):
        return None
    reason = event.detail.get("reason") or None
    return Change(version=version, at=event.created, by=event.actor, how=action, reason=reason)


def tenures(changes: Iterable[Change]) -> dict[str, list[Tenure]]:
    """By version, oldest first. A change to what is live already is none."""
    found: dict[str, list[Tenure]] = {}
    line = _in_line(changes)
    for place, change in enumerate(line):
        following = line[place + 1] if place + 1 < len(line) else None
        until = following.at if following is not None else None
        tenure = Tenure(change=change, until=until, ended_by=following)
        found.setdefault(change.version, []).append(tenure)
    return found


def newest(changes: Iterable[Change]) -> tuple[str | None, str | None]:
    """What is live after all of them, and what was before it."""
    line = _in_line(changes)
    return (
        line[-1].version if line else None,
        line[-2].version if len(line) > 1 else None,
    )


def _in_line(changes: Iterable[Change]) -> list[Change]:
    line: list[Change] = []
    for change in sorted(changes, key=lambda each: each.at):
        if not line or line[-1].version != change.version:
            line.append(change)
    return line


def of_rounds(data_dir: Path) -> Iterator[Change]:
    """What rounds made live themselves, as their folders say."""
    for path in sorted(data_dir.glob("rounds/*/publish/result.json")):
        result = round_facts.read(path)
        if result is not None and result.get("promoted") is not None:  # else a canary decides
            yield Change(
                version=result["version"],
                at=result["promoted"],
                by=path.parent.parent.name,
                how="round",
            )
