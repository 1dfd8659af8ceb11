"""Rounds and versions that nobody trained, as the workers leave them in Redis and on disk, drawn from a seed.

For the console's bench and for tests of its pages: as many as wanted, each with curves, reports and logs.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import redis

from feedback import keys
from serving import artifact
from serving.registry import PolicyRecord, Registry

_ROUND_S = 5_400.0
_ITERATIONS = 60
_STEPS = ("snapshot", "reward", "ppo", "gate", "publish")
_LABELERS = ("ada", "bea", "cleo", "dan", "eva", "finn")
_CHECKS = (
    *("reward_accuracy", "win_rate", "kl_nats", "flagged_increase", "perplexity_ratio"),
    *("length_ratio_high", "length_ratio_low"),
)
_PROMPTS = (
    "How do I boil an egg so that the yolk stays soft?",
    "Write a polite note to a neighbour whose music is too loud.",
    "What is the difference between weather and climate?",
    "Name three things to do on a rainy Sunday with children.",
    "Explain to a ten-year-old why the sky is blue.",
)
_BEFORE = (
    "Boil it.",
    "Dear neighbour, your music is loud. Please stop it. Regards.",
    "Weather and climate are different things, and they are not the same, since one is weather.",
    "Read, play and sleep.",
    "The sky is blue because of the sky, which is a blue colour that you see.",
)
_AFTER = (
    "Put the egg into boiling water for six minutes, then into cold water. The white is firm by then, and the "
    "yolk still runs. For one that just holds, take seven.",
    "Hello! I live next door. I can hear your music quite well in the evening; could you turn it down a little "
    "after ten? Thank you, and do tell me if I am ever too loud myself.",
    "Weather is what happens outside today. Climate is what usually happens there, taken over thirty years or more.",
    "Build a den out of blankets and read in it. Bake something that needs kneading. Put on boots and count worms.",
    "Sunlight holds all colours. Air scatters blue more than red, so blue comes to you from everywhere above.",
)


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
    round under way at the end. The newest version is in production."""
    rng, registry = random.Random(seed), Registry(client)
    now = time.time() if now is None else now
    total = num_versions + num_versions // 4 + 1
    parent, refused = "policy-0000", ""
    versions: list[str] = []
    rounds: list[str] = []
    for number in range(1, total + 1):
        round_id = f"round-{number:04d}"
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
    client.set(keys.ROUND_SEQ, total)
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
        "iterations": _ITERATIONS,
        "episodes_per_iteration": 64,
        "kl_coef": 0.02,
        "ptx_coef": 27.8,
    }
    _json(folder / "recipe.json", {"name": "cpu-demo", "ppo": ppo})
    _json(folder / "snapshot" / "manifest.json", _snapshot(rng))
    lines = list(_curves(rng, quality, num_ppo=_ITERATIONS * 2 // 3 if is_active else _ITERATIONS))
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    _json(folder / "reward" / "report.json", _reward_report(rng, quality))
    for step in ("snapshot", "reward", "ppo"):
        log = "".join(f"12:{n:02d}:07 {step}: {n * 8} of 480 done\n" for n in range(60))
        (folder / f"{step}.log").write_text(log)
    done = _STEPS[:2] if is_active else (_STEPS if passed else _STEPS[:3])
    for step in done:
        (folder / step / "DONE").touch()
    if not is_active:
        _json(folder / "gate" / "report.json", _gate_report(rng, parent, passed=passed))


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


def _curves(rng: random.Random, quality: float, *, num_ppo: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for number in range(30):
        loss = 0.69 * math.exp(-number / 25) + 0.02 * rng.random() - 0.1 * quality
        row = {"reward/loss": loss, "reward/train_accuracy": 0.5 + 0.25 * (1 - loss / 0.7)}
        lines.append({"t": 0.0, "step": "reward", "iteration": number, **row})
    for number in range(num_ppo):
        share = number / _ITERATIONS
        kl = 9 * share**1.2 + 0.4 * rng.random()
        row = {
            "objective/kl": kl,
            "objective/scores": 1.8 * (1 - math.exp(-3 * share)) + 0.12 * rng.gauss(0, 1),
            "objective/entropy": 48 - 9 * share + rng.gauss(0, 0.6),
            "ppo/policy/clipfrac": 0.06 + 0.05 * rng.random(),
            "ppo/policy/approxkl": 0.004 + 0.004 * rng.random(),
            "ppo/val/explained_variance": 0.75 * (1 - math.exp(-5 * share)) + 0.04 * rng.random(),
            "ppo/ptx_loss": 3.1 + 0.06 * share + 0.02 * rng.random(),
            "response/tokens": 38 + 14 * share + rng.gauss(0, 1.5),
            "ppo/engine_gap_nats": 0.012 + 0.003 * rng.random(),
            "ppo/lr": 1e-4 * (1 - share),
            "time/rollout_s": 6 + rng.random(),
            "time/train_s": 9 + rng.random(),
            "ppo/progress": (number + 1) / _ITERATIONS,
        }
        row["objective/rlhf_reward"] = row["objective/scores"] - 0.02 * kl
        lines.append({"t": 0.0, "step": "ppo", "iteration": number, **row})
    return lines


def _reward_report(rng: random.Random, quality: float) -> dict[str, Any]:
    middle = 0.6 + 0.12 * quality
    bins = [
        {
            "confidence": 0.525 + 0.05 * number,
            "share_right": min(1.0, 0.51 + 0.045 * number + 0.03 * rng.gauss(0, 1)),
            "num_comparisons": 220 - 18 * number,
        }
        for number in range(9)
    ]
    calibration = {
        "num_comparisons": 1_260,
        "expected_error": 0.041,
        "brier": 0.21,
        "log_loss": 0.61,
        "temperature": 1.18,
        "bins": bins,
    }
    groups = ("labelers_in_train", "labelers_not_in_train")
    return {
        "accuracy": _estimate(rng, middle, 210),
        "accuracy_by_group": {
            name: _estimate(rng, middle - 0.01 * i, 105) for i, name in enumerate(groups)
        },
        "accuracy_by_labeler": {name: _estimate(rng, middle, 35) for name in _LABELERS},
        "accuracy_by_k": {str(k): _estimate(rng, middle, 70) for k in (2, 4, 9)},
        "calibration": calibration,
        "train_rankings": 480,
        "train_comparisons": 2_880,
        "heldout_rankings": 210,
        "heldout_comparisons": 1_260,
    }


def _gate_report(rng: random.Random, parent: str, *, passed: bool) -> dict[str, Any]:
    win_rate = _estimate(rng, 0.63 if passed else 0.51, 96)
    kl = {"value": 8.1, "low": 7.4, "high": 8.9, "num_units": 96}
    accuracy = _estimate(rng, 0.68, 210)
    found: dict[str, tuple[float, float, list[float] | None]] = {
        "reward_accuracy": (accuracy["value"], 0.55, [accuracy["low"], accuracy["high"]]),
        "win_rate": (win_rate["value"], 0.5, [win_rate["low"], win_rate["high"]]),
        "kl_nats": (8.1, 15.0, [7.4, 8.9]),
        "flagged_increase": (0.004, 0.01, None),
        "perplexity_ratio": (1.012, 1.05, None),
        "length_ratio_high": (1.31, 1.6, None),
        "length_ratio_low": (1.31, 0.6, None),
    }
    checks = [
        {
            "name": name,
            "value": found[name][0],
            "limit": found[name][1],
            "passed": passed or name != "win_rate",
            "interval": found[name][2],
        }
        for name in _CHECKS
    ]
    samples = [
        {
            "prompt": _PROMPTS[number % 5],
            "candidate": _AFTER[number % 5],
            "incumbent": _BEFORE[number % 5],
            "candidate_score": round(rng.gauss(1.4, 0.5), 3),
            "incumbent_score": round(rng.gauss(0.4, 0.5), 3),
        }
        for number in range(20)
    ]
    return {
        "digest": hashlib.sha256(rng.randbytes(8)).hexdigest(),
        "passed": passed,
        "checks": checks,
        "evidence": {"reward_accuracy": accuracy, "win_rate": win_rate, "kl_nats": kl},
        "incumbent": parent,
        "flagged": {"candidate": [], "incumbent": []},
        "samples": samples,
    }


def _estimate(rng: random.Random, value: float, units: int) -> dict[str, Any]:
    value = min(max(value + 0.015 * rng.gauss(0, 1), 0.0), 1.0)
    half = 1.96 * math.sqrt(value * (1 - value) / units)
    return {"value": value, "low": value - half, "high": value + half, "num_units": units}


def _snapshot(rng: random.Random) -> dict[str, Any]:
    rows = rng.randrange(480, 700)
    return {
        "created": time.time() - 3_600,
        "parts": {
            "rankings": {"rows": rows, "comparisons": 6 * rows},
            "demonstrations": {"rows": rows // 9},
            "prompts": {"rows": 4 * rows},
            "labelers": {"rows": len(_LABELERS)},
        },
        "end_users": 214,
        "labelers": len(_LABELERS),
    }


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(value))
