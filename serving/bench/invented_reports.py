"""What the steps of an invented round report: curves, a reward model's accuracy, a gate's verdict."""

from __future__ import annotations

import hashlib
import math
import random
import time
from typing import Any

ITERATIONS = 60  # of PPO
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


def curves(rng: random.Random, quality: float, *, num_ppo: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for number in range(30):
        loss = 0.69 * math.exp(-number / 25) + 0.02 * rng.random() - 0.1 * quality
        row = {"reward/loss": loss, "reward/train_accuracy": 0.5 + 0.25 * (1 - loss / 0.7)}
        lines.append({"t": 0.0, "step": "reward", "iteration": number, **row})
    for number in range(num_ppo):
        share = number / ITERATIONS
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
            "ppo/progress": (number + 1) / ITERATIONS,
        }
        row["objective/rlhf_reward"] = row["objective/scores"] - 0.02 * kl
        lines.append({"t": 0.0, "step": "ppo", "iteration": number, **row})
    return lines


def reward_report(rng: random.Random, quality: float) -> dict[str, Any]:
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


def gate_report(rng: random.Random, parent: str, *, passed: bool) -> dict[str, Any]:
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
            "evidence": "gate/answers.jsonl",
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


def snapshot(rng: random.Random) -> dict[str, Any]:
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
