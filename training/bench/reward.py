"""The K-wise reward model beside TRL's RewardTrainer: pairs a second, memory, loss by step.

Both learn the same rankings with the same rate, from the same weights, as many of them trained.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from statistics import mean, median
from typing import Any

from feedback.errors import Unavailable, Unprocessable
from serving.bench.report import machine
from training.bench.learning import Task

Row = dict[str, Any]
OURS, PEER = "hone", "TRL"


def run(
    task: Task, *, ks: Sequence[int], layers: Sequence[int | None], say: Callable[[str], None]
) -> dict[str, Any]:
    """For every K a row for each trainer and each choice of weights, and the losses by step.

    `layers`: from the top, that have adapters; None for full weights. `task`'s own k, layers and trainer
    do not count. Raises Unavailable without TRL.
    """
    if find_spec("trl") is None:
        raise Unavailable("trl is not installed: pip install 'hone-llm[dev]' brings it")
    if task.num_rankings < 2 * task.rankings_per_step:
        raise Unprocessable("the first step warms up: give rankings for two steps at least")
    report: dict[str, Any] = {"machine": machine()}
    for k in ks:
        found = {
            (name, kind): _measured(
                replace(task, k=k, layers=kind, is_peer=name == PEER), f"K = {k}: {name}", say
            )
            for kind in layers
            for name in (OURS, PEER)
        }
        report["machine"] |= {key: next(iter(found.values()))[key] for key in ("threads", "torch")}
        report[f"K = {k}"] = {
            "pairs": [_row(name, kind, found) for name, kind in found],
            "loss": _losses(found),
        }
    return report


def _measured(task: Task, what: str, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"{what}, {weights_of(task.layers)}")
    command = [sys.executable, "-m", "training.bench.learning", task.argument()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Unavailable(
            f"the process that measures ended with {done.returncode}; its own words are above"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(
        f"  {_rate(found, 'seconds'):.1f} pairs/s, {_rate(found, 'cpu_s'):.1f} per processor second"
    )
    return found


def weights_of(layers: int | None) -> str:
    """What is trained, in words."""
    return "full weights" if layers is None else f"adapters, {layers} layers"


def _row(name: str, kind: int | None, found: dict[tuple[str, int | None], dict[str, Any]]) -> Row:
    """Medians over steps, the first left out."""
    ours, peer = found[name, kind], found[PEER, kind]
    gaps = [abs(a - b) for a, b in zip(ours["loss"], peer["loss"], strict=True)]
    return {
        "trainer": name,
        "weights": weights_of(kind),
        "pairs_per_s": _rate(ours, "seconds"),
        "pairs_per_cpu_s": _rate(ours, "cpu_s"),
        "peak_mb": ours["peak_mb"],
        "times_trl": _rate(ours, "seconds") / _rate(peer, "seconds"),
        "times_trl_cpu": _rate(ours, "cpu_s") / _rate(peer, "cpu_s"),
        "mean_loss_gap": mean(gaps),
    }


def _rate(found: dict[str, Any], clock: str) -> float:
    return float(found["pairs_per_step"] / median(found[clock][1:]))


def _losses(found: dict[tuple[str, int | None], dict[str, Any]]) -> list[Row]:
    curves = {f"{name}, {weights_of(kind)}": one["loss"] for (name, kind), one in found.items()}
    num_steps = min(map(len, curves.values()))
    return [
        {"step": step} | {name: curve[step] for name, curve in curves.items()}
        for step in range(num_steps)
    ]
