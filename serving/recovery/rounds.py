"""The states of rounds, as their folders tell them: finished, refused, or broken off, to be gone on with."""

from __future__ import annotations

import json
from pathlib import Path

from serving.lineage.round_facts import override_of, read
from serving.oversight.round_files import STEPS_OF
from serving.round_states import FAILED, FINISHED, REFUSED

State = dict[str, str]  # fields of keys.round_state

_LOST = "Redis was lost while it ran, or its end is not in its folder: `hone rounds retry` goes on"


def look(data_dir: Path) -> dict[str, State]:
    """By round, those whose plan can be read."""
    folders = sorted((data_dir / "rounds").glob("round-*"))
    return {folder.name: state for folder in folders if (state := _state(folder)) is not None}


def _state(folder: Path) -> State | None:
    plan = read(folder / "round.json")
    if plan is None or plan.get("kind", "policy") not in STEPS_OF:
        return None
    kind = plan.get("kind", "policy")
    done = [step for step in STEPS_OF[kind] if (folder / step / "DONE").exists()]
    result = read(folder / "publish" / "result.json") if "publish" in done else None
    gate = read(folder / "gate" / "report.json")
    state = {
        "round_id": folder.name,
        "kind": kind,
        "recipe": str(plan.get("recipe", "")),
        "reason": "read from its folder",
        "started": str(plan["created"]),
        "step": next((step for step in STEPS_OF[kind] if step not in done), "publish"),
    }
    if result is not None:
        return {**state, "status": FINISHED, "detail": json.dumps(result), **_ended(folder)}
    if gate is not None and not gate.get("passed") and override_of(folder) is None:
        failed = [check["name"] for check in gate.get("checks", []) if not check["passed"]]
        return {**state, "status": REFUSED, "detail": json.dumps({"failed_checks": failed})}
    return {**state, "status": FAILED, "error": _LOST, "detail": json.dumps({"error": _LOST})}


def _ended(folder: Path) -> State:
    return {"ended": str((folder / "publish" / "DONE").stat().st_mtime)}
