"""Versions on disk, each whole or not, gated or not; and the numbers that were ever given out there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feedback.errors import Refused
from moderation import manifest as moderation_manifest
from moderation.versions import ModerationRecord
from serving import artifact, retired
from serving.lineage import deployments, round_facts
from serving.lineage.deployments import Change
from serving.lineage.versions import Manifest, Record, check_files
from serving.recovery import rounds
from serving.recovery.rounds import State
from serving.registry import BASE, PolicyRecord

Counted = Literal["policy", "moderation", "round"]
FOLDERS: Mapping[Counted, str] = {
    "policy": "policies",
    "moderation": "moderation",
    "round": "rounds",
}
_NUMBER = re.compile(r"\b(policy|moderation|round)-([0-9]{4,9})\b")


@dataclass(frozen=True, kw_only=True)
class Found:
    """One folder. A number is used up whether or not its folder is any good."""

    version: str
    record: Record | None  # None: it must not be registered
    is_gated: bool = False
    problem: str | None = None  # why not


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """All that the folders say."""

    found: tuple[Found, ...]
    base: PolicyRecord | None  # the base model, where a round names its folder and it is there
    base_digests: frozenset[str]  # that versions were trained over
    numbers: Mapping[Counted, int]  # the highest ones
    changes: tuple[Change, ...]  # what rounds made live
    rounds: Mapping[str, State]  # their states
    published: Mapping[str, str]  # version -> the round that published it, live or as a canary

    @property
    def records(self) -> dict[str, Record]:
        return {each.version: each.record for each in self.found if each.record is not None}

    @property
    def gated(self) -> set[str]:
        return {each.version for each in self.found if each.record is not None and each.is_gated}


def look(data_dir: Path) -> OnDisk:
    """Hashes every file of every version."""
    policies = [_policy(folder, data_dir) for folder in _named(data_dir, "policy")]
    classifiers = [_classifier(folder, data_dir) for folder in _named(data_dir, "moderation")]
    found = (*policies, *classifiers)
    digests = frozenset(_base_digests(data_dir))
    return OnDisk(
        found=found,
        base=_base(data_dir, digests),
        base_digests=digests,
        numbers=highest(_texts(data_dir)),
        changes=tuple(deployments.of_rounds(data_dir)),
        rounds=rounds.look(data_dir),
        published=dict(_published(data_dir)),
    )


def highest(texts: Iterable[str]) -> dict[Counted, int]:
    """The highest number of each kind that stands in any of these."""
    numbers: dict[Counted, int] = {"policy": 0, "moderation": 0, "round": 0}
    for text in texts:
        for kind, number in _NUMBER.findall(text):
            numbers[kind] = max(numbers[kind], int(number))
    return numbers


def _named(data_dir: Path, kind: Counted) -> list[Path]:
    """Folders of versions; what a killed publisher left begins with a dot."""
    return sorted(path for path in (data_dir / FOLDERS[kind]).glob(f"{kind}-*") if path.is_dir())


def _texts(data_dir: Path) -> Iterator[str]:
    """Names of folders, half-made ones too, and what rounds and manifests name."""
    for group in FOLDERS.values():
        yield from (path.name for path in (data_dir / group).glob("*"))
        yield from (path.name for path in (data_dir / group).glob(".*"))
    for pattern in (
        *("rounds/*/publish/version", "rounds/*/fit/version"),
        *("rounds/*/publish/result.json", "rounds/*/round.json"),
        *("policies/*/policy.json", "moderation/*/moderation.json"),
    ):
        for path in data_dir.glob(pattern):
            yield path.read_text(errors="replace")


def _policy(folder: Path, data_dir: Path) -> Found:
    removed = retired.since(folder)
    manifest, problem = _whole(folder, artifact.read_manifest, is_removed=removed is not None)
    if manifest is None:
        return Found(version=folder.name, record=None, problem=problem)
    assert isinstance(manifest, artifact.Manifest)
    round_id = manifest.lineage.get("round")
    is_gated = _is_gated(data_dir, round_id, manifest)
    if round_id is not None and not is_gated:  # under a round's id it could be promoted like others
        return Found(version=folder.name, record=None, problem="it has not passed its gate")
    record = PolicyRecord(
        version=manifest.version,
        kind=manifest.kind,
        path=str(folder.resolve()),
        digest=manifest.digest,
        parent=manifest.parent,
        round_id=round_id,
        created=manifest.created,
        removed=removed,
    )
    # What has no weights any more must not become live, whatever its gate said.
    return Found(version=folder.name, record=record, is_gated=is_gated and removed is None)


def _classifier(folder: Path, data_dir: Path) -> Found:
    manifest, problem = _whole(folder, moderation_manifest.read_manifest)
    if manifest is None:
        return Found(version=folder.name, record=None, problem=problem)
    round_id = manifest.lineage.get("round")
    if not _is_gated(data_dir, round_id, manifest):
        problem = "no gate's report says that it passed"
        return Found(version=folder.name, record=None, problem=problem)
    record = ModerationRecord(
        version=manifest.version,
        path=str(folder.resolve()),
        digest=manifest.digest,
        parent=manifest.parent,
        round_id=round_id,
        created=manifest.created,
    )
    return Found(version=folder.name, record=record, is_gated=True)


def _whole(
    folder: Path, read: Callable[[Path], Manifest], *, is_removed: bool = False
) -> tuple[Manifest | None, str | None]:
    """Its manifest, if every file is what was published; else why not. Of what retention has thinned out there are
    no weights to look at."""
    try:
        manifest = read(folder)
        if not is_removed:
            check_files(folder, manifest)
    except (Refused, OSError) as error:
        return None, error.message if isinstance(error, Refused) else str(error)
    if manifest.version != folder.name:
        return None, f"its manifest calls it {manifest.version}"
    return manifest, None


def _is_gated(data_dir: Path, round_id: Any, manifest: Manifest) -> bool:
    """By its round's report on these very weights, or an operator's override of it; where these are gone, by
    what it was published with."""
    if not isinstance(round_id, str):
        return False
    folder = data_dir / "rounds" / round_id
    if (folder / "gate" / "report.json").exists():
        return round_facts.may_serve(folder, manifest.digest)
    override = manifest.lineage.get("override")
    if override and override["digest"] == manifest.digest:
        return True
    checks = manifest.lineage.get("gate")
    return isinstance(checks, list) and bool(checks) and all(c.get("passed") for c in checks)


def _published(data_dir: Path) -> Iterator[tuple[str, str]]:
    for path in data_dir.glob("rounds/*/publish/result.json"):
        result = round_facts.read(path)
        if result is not None and "version" in result:
            yield result["version"], path.parent.parent.name


def _base_digests(data_dir: Path) -> Iterator[str]:
    for path in data_dir.glob("policies/policy-*/policy.json"):
        found = round_facts.read(path)
        if found is not None and "base_digest" in found:
            yield found["base_digest"]


def _base(data_dir: Path, digests: frozenset[str]) -> PolicyRecord | None:
    """The first folder that a round calls its base and that has the weights versions were trained over."""
    plans = (round_facts.read(path) for path in sorted(data_dir.glob("rounds/*/round.json")))
    named = dict.fromkeys(plan["base_model"] for plan in plans if plan and plan.get("base_model"))
    for name in named:
        folder = Path(name)
        if folder.is_dir() and (digest := artifact.base_digest(folder)) in digests:
            now = time.time()  # as when a gateway registers it
            return PolicyRecord(version=BASE, kind="base", path=name, digest=digest, created=now)
    return None
