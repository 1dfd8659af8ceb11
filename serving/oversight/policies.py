"""Versions: which there are, what they came from, what their gate said, and their cards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.errors import NotFound
from serving import artifact
from serving.lineage import base_model
from serving.oversight import gates
from serving.oversight.round_files import RoundFiles, read_json
from serving.registry import BASE, Live, PolicyRecord

if TYPE_CHECKING:
    from serving.gateway import Gateway

PAGE = 50
_CARD_CHARS = 65_536
_SHOWN = (
    "version",
    "kind",
    "digest",
    "parent",
    "round_id",
    "created",
    "removed",
)  # no path: nobody's business


def newest(
    live: Live, files: RoundFiles, *, before: str | None = None, limit: int = PAGE
) -> dict[str, Any]:
    """Versions before a version, newest first, each with its verdict."""
    versions = sorted((v for v in live.policies if before is None or v < before), reverse=True)
    return {
        "object": "list",
        "data": [_row(live, files, live.policies[version]) for version in versions[:limit]],
        "has_more": len(versions) > limit,
        "num_versions": len(live.policies),
    }


def one(live: Live, files: RoundFiles, version: str, *, with_texts: bool) -> dict[str, Any]:
    """A version, or what an alias means, with its whole gate report. Raises NotFound."""
    record = find(live, version)
    row = _row(live, files, record)
    round_id = record.round_id
    report = gates.report(files, round_id, with_texts=with_texts) if round_id else None
    children = sorted(v for v, other in live.policies.items() if other.parent == record.version)
    return row | {"children": children, "gate_report": report}


def find(live: Live, version: str) -> PolicyRecord:
    record = live.resolve(version)
    if record is None:
        raise NotFound(
            f"there is no {version}; `hone policies list` shows what there is", param="version"
        )
    return record


def card(gateway: Gateway, record: PolicyRecord) -> dict[str, Any]:
    """What a model card says, out of what the version and its round left behind."""
    files = RoundFiles(gateway.settings.data_dir)
    manifest = read_json(Path(record.path) / "policy.json") if record.kind != "base" else None
    round_id = record.round_id or ""
    snapshot = (manifest or {}).get("lineage", {}).get("snapshot") or files.snapshot(round_id)
    base = gateway.refresher.live.policies.get(BASE)
    return {
        "base_model": Path(base.path).name if base is not None else None,
        "base_digest": (manifest or {}).get("base_digest"),
        "licence": base_model.of(Path(base.path)).licence if base is not None else None,
        "text": _written(Path(record.path)) if record.kind != "base" else None,
        "snapshot": snapshot,
        "recipe": files.recipe(round_id),
        "reward": files.report(round_id, "reward"),
    }


def ancestry(live: Live, version: str, *, limit: int = 50) -> list[str]:
    """The version, its parent, and so on to the base."""
    found: list[str] = []
    at: str | None = version
    while at is not None and at not in found and len(found) < limit:
        found.append(at)
        record = live.policies.get(at)
        at = record.parent if record is not None else None
    return found


def _row(live: Live, files: RoundFiles, record: PolicyRecord) -> dict[str, Any]:
    fields = asdict(record)
    return {
        **{name: fields[name] for name in _SHOWN},
        "aliases": sorted(a for a, version in live.aliases.items() if version == record.version),
        "gate": gates.verdict(files, record.round_id) if record.round_id else None,
    }


def _written(folder: Path) -> str | None:
    """The card that was written at publication."""
    try:
        with (folder / artifact.CARD).open(errors="replace") as file:
            return file.read(_CARD_CHARS)
    except OSError:
        return None
