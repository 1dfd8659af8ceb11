"""A system with rounds and versions on disk and in the registry, as workers leave them; no weights in them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from feedback.snapshots.files import Rows, sha256_of, write_json
from moderation.manifest import MANIFEST, Manifest
from moderation.versions import ModerationRecord, Versions
from serving import artifact
from serving.registry import BASE, PolicyRecord, Registry


def add_base(data_dir: Path, registry: Registry) -> PolicyRecord:
    """The model that everything began with."""
    folder = data_dir / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(_safetensors(b"base"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return registry.ensure_base(str(folder), artifact.base_digest(folder))


def write_snapshot(folder: Path, rows: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A snapshot with these ids in these parts."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part, ids in rows.items():
        with Rows(folder / f"{part}.jsonl") as file:
            for each in ids:
                file.add({"id": each, "labeler": "lab_1", "prompt_text": f"not {each}x"})
        files[f"{part}.jsonl"] = file.written
    manifest = {
        "created": time.time(),
        "labelers": 1,
        "end_users": 1,
        "parts": {part: {"rows": len(ids)} for part, ids in rows.items()},
        "files": files,
        "bounds": {"feedback": None},
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def write_round(
    data_dir: Path, round_id: str, *, parent: str, rows: Mapping[str, Sequence[str]]
) -> Path:
    """As far as its snapshot."""
    folder = data_dir / "rounds" / round_id
    write_snapshot(folder / "snapshot", rows)
    plan = {
        "round_id": round_id,
        "kind": "policy",
        "recipe": "tiny",
        "parent": parent,
        "base_model": str(data_dir / "models" / "tiny"),
        "seed": 1,
        "created": time.time(),
    }
    (folder / "round.json").write_text(json.dumps(plan))
    (folder / "recipe.json").write_text(json.dumps({"ppo": {"kl_coef": 0.02}}))
    (folder / "reward").mkdir()
    accuracy = {"value": 0.7, "low": 0.6, "high": 0.8}
    counts = {"train_rankings": 8, "train_comparisons": 8}
    (folder / "reward" / "report.json").write_text(json.dumps({"accuracy": accuracy, **counts}))
    return folder


def publish(
    data_dir: Path,
    registry: Registry,
    round_id: str,
    *,
    parent: str = BASE,
    rows: Mapping[str, Sequence[str]] | None = None,
    passed: bool = True,
    is_live: bool = True,
) -> PolicyRecord:
    """A whole round: snapshot, gate, folder, record; by default it goes live."""
    round_dir = write_round(data_dir, round_id, parent=parent, rows=rows or {"rankings": []})
    version = registry.next_version()
    (round_dir / "publish").mkdir()
    (round_dir / "publish" / "version").write_text(version)
    folder = data_dir / "policies" / version
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(version.encode()))
    checks = [{"name": "win_rate", "value": 0.6, "limit": 0.5, "passed": passed, "interval": None}]
    manifest = artifact.write_manifest(
        folder,
        version=version,
        kind="adapter",
        parent=parent,
        base_digest=registry.get(BASE).digest,
        lineage={
            "round": round_id,
            "recipe": "tiny",
            "snapshot": json.loads((round_dir / "snapshot" / "manifest.json").read_text()),
            "gate": checks,
        },
    )
    report = {"digest": manifest.digest, "passed": passed, "checks": checks}
    (round_dir / "gate").mkdir()
    (round_dir / "gate" / "report.json").write_text(json.dumps(report))
    record = PolicyRecord(
        version=version,
        kind="adapter",
        path=str(folder.resolve()),
        digest=manifest.digest,
        parent=parent,
        round_id=round_id,
        created=manifest.created,
    )
    registry.add(record)
    if is_live:
        registry.promote(version)
        result = {"version": version, "digest": manifest.digest, "promoted": time.time()}
        (round_dir / "publish" / "result.json").write_text(json.dumps(result))
    return record


def publish_classifier(data_dir: Path, client: redis.Redis, round_id: str) -> ModerationRecord:
    """A whole round of moderation's classifier, which serves then."""
    versions = Versions(client)
    version = versions.next()
    folder = data_dir / "moderation" / version
    folder.mkdir(parents=True)
    (folder / "heads.npz").write_bytes(version.encode())
    manifest = Manifest(
        version=version,
        parent="moderation-0000",
        created=5.0,
        files={"heads.npz": sha256_of(folder / "heads.npz")},
        lineage={"round": round_id},
    )
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))
    round_dir = write_round(data_dir, round_id, parent="moderation-0000", rows={})
    (round_dir / "gate").mkdir()
    report = {"passed": True, "digest": manifest.digest, "checks": []}
    (round_dir / "gate" / "report.json").write_text(json.dumps(report))
    record = ModerationRecord(
        version=version,
        path=str(folder.resolve()),
        digest=manifest.digest,
        parent="moderation-0000",
        round_id=round_id,
        created=5.0,
    )
    versions.add(record)
    versions.promote(version, by="key_op")
    (round_dir / "publish").mkdir()
    result = {"version": version, "digest": manifest.digest, "promoted": time.time()}
    (round_dir / "publish" / "result.json").write_text(json.dumps(result))
    return record


def override_gate(data_dir: Path, round_id: str, *, digest: str, reason: str) -> None:
    """As an override leaves it, once a worker went on."""
    said = {"digest": digest, "actor": "key_1", "reason": reason, "created": time.time()}
    path = data_dir / "rounds" / round_id / "gate" / "override.json"
    path.write_text(json.dumps(said))


def opened(client: redis.Redis, data_dir: Path) -> Registry:
    """A registry with the base."""
    registry = Registry(client)
    add_base(data_dir, registry)
    return registry


def _safetensors(content: bytes) -> bytes:
    """A file with one tensor of bytes."""
    size = len(content)
    entry = {"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + content
