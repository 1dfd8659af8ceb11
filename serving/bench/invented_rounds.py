"""Rounds and versions that nobody trained, as the workers leave them in Redis and on disk, drawn from a seed.

For the console's bench and for tests of its pages: as many as wanted, each with curves, reports and logs.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import redis

from feedback import keys
from serving import artifact
from serving.bench import invented_reports as reports
from serving.bench.invented_reports import ITERATIONS
from serving.registry import PolicyRecord, Registry

_ROUND_S = 5_400.0
_STEPS = ("snapshot", "reward", "ppo", "gate", "publish")


@dataclass(frozen=True, kw_only=True)
class Invented:
    """What was made."""

    versions: list[str]
    rounds: list[str]
    refused: str  # the newest round that its gate refused
    active: str  # the round under way


def write(
    client: redis.Redis,
    data_dir: Path,
    *,
    num_versions: int,
    seed: int = 0,
    now: float | None = None,
) -> Invented:
    """Versions 1 to `num_versions` (the base is there already), a refused round before every fourth, and one
    round under way at the end. The newest version is in production. Rounds that are there already stay."""
    rng, registry = random.Random(seed), Registry(client)
    now = time.time() if now is None else now
    total = num_versions + num_versions // 4 + 1
    before = int(cast("bytes | None", client.get(keys.ROUND_SEQ)) or 0)
    parent, refused = "policy-0000", ""
    versions: list[str] = []
    rounds: list[str] = []
    for number in range(1, total + 1):
        round_id = f"round-{before + number:04d}"
        began = now - (total - number + 0.4) * _ROUND_S
        is_active, is_refused = number == total, number % 5 == 4
        quality = 1 - math.exp(-len(versions) / 12)
        version = None
        if not is_active and not is_refused:
            version = f"policy-{len(versions) + 1:04d}"
        folder = data_dir / "rounds" / round_id
        _write_round(
            folder,
            rng,
            round_id=round_id,
            parent=parent,
            quality=quality,
            is_active=is_active,
            passed=version is not None,
        )
        _write_state(client, round_id, began=began, version=version, is_active=is_active, rng=rng)
        if version is not None:
            registry.add(_publish(data_dir, folder, version, parent, round_id, began + 5_000))
            # Every ninth was rolled back: the next one has the version before it as its parent.
            parent = parent if len(versions) % 9 == 8 else version
            versions.append(version)
        elif is_refused:
            refused = round_id
        rounds.append(round_id)
    client.set(keys.ROUND_SEQ, before + total)
    client.set(keys.POLICY_SEQ, len(versions))
    client.set(keys.ROUND_ACTIVE, rounds[-1])
    if len(versions) > 1:
        registry.promote(versions[-2])
    registry.promote(versions[-1])
    return Invented(versions=versions, rounds=rounds, refused=refused, active=rounds[-1])


def _write_round(
    folder: Path,
    rng: random.Random,
    *,
    round_id: str,
    parent: str,
    quality: float,
    is_active: bool,
    passed: bool,
) -> None:
    for step in _STEPS:
        (folder / step).mkdir(parents=True, exist_ok=True)
    plan = {"round_id": round_id, "recipe": "cpu-demo", "parent": parent, "created": time.time()}
    _json(folder / "round.json", plan)
    ppo = {
        "iterations": ITERATIONS,
        "episodes_per_iteration": 64,
        "kl_coef": 0.02,
        "ptx_coef": 27.8,
    }
    _json(folder / "recipe.json", {"name": "cpu-demo", "ppo": ppo})
    _json(folder / "snapshot" / "manifest.json", reports.snapshot(rng))
    lines = list(
        reports.curves(rng, quality, num_ppo=ITERATIONS * 2 // 3 if is_active else ITERATIONS)
    )
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    _json(folder / "reward" / "report.json", reports.reward_report(rng, quality))
    for step in ("snapshot", "reward", "ppo"):
        log = "".join(f"12:{n:02d}:07 {step}: {n * 8} of 480 done\n" for n in range(60))
        (folder / f"{step}.log").write_text(log)
    done = _STEPS[:2] if is_active else (_STEPS if passed else _STEPS[:3])
    for step in done:
        (folder / step / "DONE").touch()
    if not is_active:
        _json(folder / "gate" / "report.json", reports.gate_report(rng, parent, passed=passed))


def _write_state(
    client: redis.Redis,
    round_id: str,
    *,
    began: float,
    version: str | None,
    is_active: bool,
    rng: random.Random,
) -> None:
    state: dict[Any, Any] = {
        "round_id": round_id,
        "recipe": "cpu-demo",
        "status": "running" if is_active else ("finished" if version else "refused"),
        "step": "ppo" if is_active else ("publish" if version else "gate"),
        "reason": f"{rng.randrange(500, 620)} new judgements",
        "started": began,
        "attempts:ppo": 2 if rng.random() < 0.1 else 1,
    }
    if is_active:
        state |= {"heartbeat": time.time(), "expected_end": time.time() + 1_400, "spent_s": 2_160.0}
        state["progress"] = orjson.dumps({"step": "ppo", "iteration": 39, "ppo/progress": 0.66})
    else:
        detail = {"version": version} if version else {"failed_checks": ["win_rate"]}
        state |= {"ended": began + 4_400 + rng.randrange(900), "detail": orjson.dumps(detail)}
    client.hset(keys.round_state(round_id), mapping=state)


def _publish(
    data_dir: Path, folder: Path, version: str, parent: str, round_id: str, created: float
) -> PolicyRecord:
    """As training.publish leaves it: the gate's report is about these weights."""
    target = data_dir / "policies" / version
    target.mkdir(parents=True, exist_ok=True)
    (target / "adapter_config.json").write_text("{}")
    (target / "adapter_model.safetensors").write_text(f"the weights of {version}")
    report = orjson.loads((folder / "gate" / "report.json").read_bytes())
    snapshot = orjson.loads((folder / "snapshot" / "manifest.json").read_bytes())
    manifest = artifact.write_manifest(
        target,
        version=version,
        kind="adapter",
        parent=parent,
        base_digest="b" * 64,
        lineage={
            "round": round_id,
            "recipe": "cpu-demo",
            "snapshot": snapshot,
            "gate": report["checks"],
        },
    )
    _json(folder / "gate" / "report.json", report | {"digest": manifest.digest})
    return PolicyRecord(
        version=version,
        kind="adapter",
        path=str(target),
        digest=manifest.digest,
        parent=parent,
        round_id=round_id,
        created=created,
    )


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(value))
