"""Versions of moderation's classifier that nobody fitted, with the rounds that made them, drawn from a seed."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis

from feedback import keys
from moderation.categories import FITTED
from moderation.versions import ON_BOARD, ModerationRecord, Versions

_STEPS = ("snapshot", "fit", "gate", "publish")
_ROUND_S = 40_000.0


@dataclass(frozen=True, kw_only=True)
class InventedModeration:
    """What was made."""

    versions: list[str]
    refused: str  # the round that its gate refused
    failed: str  # one that had nothing to learn from


def write(
    client: redis.Redis, data_dir: Path, *, num_versions: int, seed: int = 0
) -> InventedModeration:
    """Each version is promoted by its round; after them a round that was refused, and one that failed. Rounds
    take their numbers from where the last one stopped."""
    rng, versions = random.Random(seed), Versions(client)
    made: list[str] = []
    parent, now = ON_BOARD, time.time()
    for number in range(num_versions):
        began = now - (num_versions + 2 - number) * _ROUND_S
        round_id, version = _next_round(client), versions.next()
        report = gate_report(rng, parent, passed=True)
        folder = data_dir / "moderation" / version
        _json(folder / "report.json", {"num_said": rng.randrange(90, 240), "data": None})
        _write_round(data_dir / "rounds" / round_id, parent, report, done=_STEPS)
        detail = {"version": version, "digest": report["digest"], "kind": "moderation"}
        _write_state(client, round_id, began=began, status="finished", detail=detail)
        versions.add(
            ModerationRecord(
                version=version,
                path=str(folder),
                digest=report["digest"],
                parent=parent,
                round_id=round_id,
                created=began + 200,
            )
        )
        versions.promote(version, by=round_id, reason="its gate passed it")
        made.append(version)
        parent = version
    refused, failed = _next_round(client), _next_round(client)
    report = gate_report(rng, parent, passed=False)
    _write_round(data_dir / "rounds" / refused, parent, report, done=_STEPS[:2])
    no = {"failed_checks": ["heldout_loss_change"], "kind": "moderation"}
    _write_state(client, refused, began=now - 2 * _ROUND_S, status="refused", detail=no)
    _write_round(data_dir / "rounds" / failed, parent, None, done=_STEPS[:1])
    nothing = {"step": "fit", "error": "there is nothing to learn", "kind": "moderation"}
    _write_state(client, failed, began=now - _ROUND_S, status="failed", detail=nothing)
    client.hset(keys.CORRECTIONS_COUNTED, mapping={"count": 63, "wanted": 100})
    return InventedModeration(versions=made, refused=refused, failed=failed)


def gate_report(rng: random.Random, parent: str, *, passed: bool) -> dict[str, Any]:
    """As training.moderation.evidence writes it."""
    change = -0.21 if passed else 0.08
    found: dict[str, tuple[float, float, list[float] | None]] = {
        "heldout_labels": (rng.randrange(30, 70), 20, None),
        "heldout_loss_change": (change, 0.0, [change - 0.09, change + 0.09]),
        "heldout_errors_change": (-0.06, 0.0, None),
        "benign_flagged_change": (0.0004, 0.002, None),
        "area_drop": (0.006, 0.03, None),
    }
    checks = [
        {
            "name": name,
            "value": value,
            "limit": limit,
            "passed": passed or name != "heldout_loss_change",
            "interval": interval,
        }
        for name, (value, limit, interval) in found.items()
    ]
    before = {name: _area(0.45 + 0.4 * rng.random()) for name in FITTED}
    after = {name: _area(area["auprc"] + rng.gauss(0.005, 0.01)) for name, area in before.items()}
    return {
        "digest": hashlib.sha256(rng.randbytes(8)).hexdigest(),
        "passed": passed,
        "checks": checks,
        "evidence": {"num_heldout_labels": found["heldout_labels"][0]},
        "incumbent": parent,
        "areas": {"candidate": after, "incumbent": before},
    }


def _area(auprc: float) -> dict[str, Any]:
    low, high = round(auprc - 0.04, 3), round(auprc + 0.04, 3)
    return {"auprc": round(auprc, 3), "auprc_95": [low, high], "positives": 210}


def _next_round(client: redis.Redis) -> str:
    return f"round-{client.incr(keys.ROUND_SEQ):04d}"


def _write_round(
    folder: Path, parent: str, report: dict[str, Any] | None, *, done: tuple[str, ...]
) -> None:
    plan = {"round_id": folder.name, "kind": "moderation", "parent": parent}
    _json(folder / "round.json", plan)
    for step in done:
        (folder / step).mkdir(parents=True, exist_ok=True)
        (folder / step / "DONE").touch()
        (folder / f"{step}.log").write_text(f"{step} is done in 21 s\n")
    if report is not None:
        _json(folder / "gate" / "report.json", report)


def _write_state(
    client: redis.Redis, round_id: str, *, began: float, status: str, detail: dict[str, Any]
) -> None:
    step = {"finished": "publish", "refused": "gate", "failed": "fit"}[status]
    state: dict[Any, Any] = {
        "round_id": round_id,
        "kind": "moderation",
        "recipe": "",
        "status": status,
        "step": step,
        "reason": "100 new corrections",
        "started": began,
        "ended": began + 190,
        "detail": orjson.dumps(detail),
        f"attempts:{step}": 1,
    }
    client.hset(keys.round_state(round_id), mapping=state)


def _json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(value))
