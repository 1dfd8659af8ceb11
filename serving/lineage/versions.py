"""A version's folder against the registry: what it says of itself, and whether it is what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

from feedback.errors import Refused
from feedback.snapshots.files import sha256_of
from moderation import manifest as moderation_manifest
from moderation.versions import ON_BOARD, ModerationRecord
from serving import artifact
from serving.lineage.graph import Break, Key, Node
from serving.registry import PolicyRecord

Record = PolicyRecord | ModerationRecord
Manifest = artifact.Manifest | moderation_manifest.Manifest


def node(
    record: Record,
    *,
    data_dir: Path,
    verify: bool,
    more: Mapping[str, Any],
) -> Node:
    """`verify`: every file is hashed. `more`: further facts."""
    key = Key("version", record.version)
    facts = asdict(record)
    del facts["path"]  # where weights lie is nobody's business
    facts["of"] = "policy" if isinstance(record, PolicyRecord) else "moderation"
    facts["verified"] = verify
    found, manifest = _look(record, data_dir, verify=verify)
    if manifest is not None:
        facts["recipe"] = manifest.lineage.get("recipe")
        facts["base_digest"] = getattr(manifest, "base_digest", None)
    breaks = tuple(Break(node=key, what=what, message=message) for what, message in found)
    return Node(key=key, facts={**facts, **more}, breaks=breaks)


@overload
def folder_of(record: PolicyRecord, data_dir: Path) -> Path: ...
@overload
def folder_of(record: Record, data_dir: Path) -> Path | None: ...
def folder_of(record: Record, data_dir: Path) -> Path | None:
    """Where it lies as seen from here; None: on board. Engines elsewhere may see it elsewhere."""
    if record.path is None:
        return None
    path = Path(record.path)
    if isinstance(record, PolicyRecord) and record.kind == "base":
        return path
    group = "policies" if isinstance(record, PolicyRecord) else "moderation"
    return path if path.is_dir() else data_dir / group / record.version


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises Refused unless every file is what was published."""
    if isinstance(manifest, artifact.Manifest):
        artifact.check_files(folder, manifest)
        return
    for name, written in manifest.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != written:
            raise Refused(f"{manifest.version}: {name} is not what was written")


_Found = Sequence[tuple[str, str]]  # what, message


def _look(record: Record, data_dir: Path, *, verify: bool) -> tuple[_Found, Manifest | None]:
    folder = folder_of(record, data_dir)
    if folder is None:
        return [], None
    if not folder.is_dir():
        return [("gone", f"the folder of {record.version} is gone, or not seen from here")], None
    if isinstance(record, PolicyRecord) and record.kind == "base":
        differs = verify and artifact.base_digest(folder) != record.digest
        message = f"{record.version}: the base model's weights are not those that were registered"
        return ([("differs", message)] if differs else []), None
    read: Callable[[Path], Manifest] = (
        artifact.read_manifest
        if isinstance(record, PolicyRecord)
        else moderation_manifest.read_manifest
    )
    try:
        manifest = read(folder)
    except Refused as error:
        return [("incomplete", error.message)], None
    found = list(_differences(record, manifest))
    is_removed = isinstance(record, PolicyRecord) and record.removed is not None
    if verify and not is_removed:
        try:
            check_files(folder, manifest)
        except Refused as error:
            found.append(("differs", error.message))
    return found, manifest


def _differences(record: Record, manifest: Manifest) -> Sequence[tuple[str, str]]:
    """Between the registry and the folder's own word."""
    said = {
        "version": (manifest.version, record.version),
        "digest": (manifest.digest, record.digest),
        "parent": (manifest.parent, record.parent),
    }
    return [
        (
            "differs",
            f"{record.version}: its folder's {name} is {_short(there)}, the registry's {_short(here)}",
        )
        for name, (there, here) in said.items()
        if there != here
    ]


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) < 20 else f"{value[:12]}…"


def unknown(version: str) -> Node:
    """One that others name as theirs, and the registry does not have."""
    key = Key("version", version)
    if version == ON_BOARD:
        return Node(key=key, facts={"of": "moderation"})
    message = f"the registry has no {version}; `hone policies recover` reads it from the folders"
    return Node(key=key, breaks=(Break(node=key, what="unknown", message=message),))
