"""What a round's folder tells: plan, recipe, reward model, gate, what was published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.lineage.graph import Break, Key, Node

_PLAN = ("kind", "recipe", "parent", "seed", "created")
_REWARD = (
    *("accuracy", "accuracy_by_group", "train_rankings", "train_comparisons"),
    *("heldout_rankings", "heldout_comparisons"),
)
_GATE = ("passed", "digest", "incumbent", "checks")
_OVERRIDE = ("digest", "actor", "reason", "created")
STEPS = ("snapshot", "reward", "ppo", "fit", "gate", "publish")


def node(key: Key, data_dir: Path, *, digests: Mapping[str, str]) -> Node:
    """A round. `digests`: version -> digest of what the registry says that it made."""
    folder = data_dir / "rounds" / key.id
    if not folder.is_dir():
        gone = Break(
            node=key, what="gone", message=f"the folder of {key.id} is gone, or not seen from here"
        )
        return Node(key=key, breaks=(gone,))
    plan, report = read(folder / "round.json"), read(folder / "gate" / "report.json")
    facts = {
        **_some(plan, _PLAN),
        "recipe_sha256": _sha256(folder / "recipe.json"),
        "reward_model": _some(read(folder / "reward" / "report.json"), _REWARD) or None,
        "gate": _some(report, _GATE) or None,
        "override": _some(override_of(folder), _OVERRIDE) or None,
        "published": read(folder / "publish" / "result.json"),
        "steps_done": [step for step in STEPS if (folder / step / "DONE").exists()],
    }
    found = _breaks(key, folder, plan=plan, report=report, digests=digests)
    return Node(key=key, facts=facts, breaks=tuple(found))


def may_serve(folder: Path, digest: str) -> bool:
    """Whether the gate passed these weights, or an operator took them for a reason, as its folder says."""
    report, override = read(folder / "gate" / "report.json"), override_of(folder)
    if report is None or report.get("digest") != digest:
        return False
    return bool(report.get("passed")) or (override is not None and override["digest"] == digest)


def override_of(folder: Path) -> dict[str, Any] | None:
    """Why an operator had published what the gate refused."""
    return read(folder / "gate" / "override.json")


def read(path: Path) -> dict[str, Any] | None:
    """None where there is none, or none that can be read. What was not measured (NaN) is None."""
    try:
        found = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _breaks(
    key: Key,
    folder: Path,
    *,
    plan: dict[str, Any] | None,
    report: dict[str, Any] | None,
    digests: Mapping[str, str],
) -> Iterator[Break]:
    if plan is None:
        message = f"{key.id}: its plan, round.json, is gone or cannot be read"
        yield Break(node=key, what="gone", message=message)
    for version, digest in digests.items():
        if report is None:
            message = f"{key.id}: the gate's report on {version} is gone"
            yield Break(node=key, what="gone", message=message)
        elif report.get("digest") != digest:
            message = f"{key.id}: the gate judged other weights than those of {version}"
            yield Break(node=key, what="differs", message=message)
        elif not may_serve(folder, digest):
            message = f"{key.id}: the gate refused what {version} is, and nobody overrode it"
            yield Break(node=key, what="differs", message=message)


def _some(found: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found} if found is not None else {}


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
