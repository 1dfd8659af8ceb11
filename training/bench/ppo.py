"""PPO iterations: seconds and memory by phase, beside the floor and beside four plain models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from feedback.errors import Unavailable
from serving.bench.report import machine
from training.bench.iteration import Task

Row = dict[str, Any]
OURS, BASELINE = "ours", "baseline"
_PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, data sheets
_OUTSIDE = "between phases"


def run(task: Task, *, with_baseline: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """A row for each phase and one for the whole; `task.is_baseline` is set here."""
    say(f"{task.iterations} iterations of ours")
    ours = measured(replace(task, is_baseline=False))
    report: dict[str, Any] = {
        "machine": machine() | {key: ours[key] for key in ("device", "threads", "torch")},
        "work": {key: ours[key] for key in ("prompt_tokens", "response_tokens")},
        "flops": sum(ours["flops"].values()),
        **figures(ours),
        "phases": phases(ours),
    }
    if with_baseline:
        say(f"{task.iterations} iterations of the baseline")
        plain = measured(replace(task, is_baseline=True))
        report |= {
            BASELINE: figures(plain) | {"phases": phases(plain)},
            "times_baseline": figures(plain)["seconds"] / report["seconds"],
            "cpu_times_baseline": figures(plain)["cpu_s"] / report["cpu_s"],
        }
    return report


def measured(task: Task, *, module: str = "training.bench.iteration") -> dict[str, Any]:
    """What a process of its own found. Raises Unavailable if it died, of memory for example."""
    command = [sys.executable, "-m", module, task.argument()]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode != 0:
        raise Unavailable(
            f"the process that measures ended with {run.returncode}; its own words are above. Out of "
            "memory? Take a smaller --random-model or a recipe with fewer tokens_per_pass"
        )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def figures(found: dict[str, Any]) -> Row:
    """Of whole iterations. The floor is at the best rate of any shape, so nothing flatters us."""
    rounds = found["rounds"]
    seconds = median(one["seconds"] for one in rounds)
    cpu_s = median(sum(one["cpu_s"].values()) for one in rounds)
    rates = _rates(rounds, clock="wall")
    best = max(rates, key=lambda name: rates[name])
    flops = sum(found["flops"].values())
    row = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "floor_s": flops / rates[best],
        "share_of_floor": flops / rates[best] / seconds,
        "best_shape": best,
        "gflops": {name: rate / 1e9 for name, rate in rates.items()},
        "at_rest_mb": found["at_rest_mb"],
        "process_peak_mb": found["process_peak_mb"],
        "response_tokens_per_s": found["response_tokens"] / seconds,
    }
    if found["device"] == "cpu":  # elsewhere the processor only waits
        row["cpu_share_of_floor"] = flops / max(_rates(rounds, clock="cpu").values()) / cpu_s
    peak = next((p for name, p in _PEAK_FLOPS.items() if name in found["device"]), None)
    return row | ({"mfu": flops / seconds / peak} if peak else {})


def phases(found: dict[str, Any]) -> list[Row]:
    """Medians over iterations, in the order of the flow."""
    rounds = found["rounds"]
    best = max(_rates(rounds, clock="wall").values())
    on_cpu = found["device"] == "cpu"
    best_cpu = max(_rates(rounds, clock="cpu").values())
    rows = []
    for name in rounds[0]["phases"]:
        seconds = median(one["phases"][name] for one in rounds)
        cpu_s = median(one["cpu_s"][name] for one in rounds)
        flops = found["flops"].get(name, 0)
        rows.append(
            {
                "phase": name,
                "seconds": seconds,
                "share_of_floor": flops / best / seconds,
                "cpu_s": cpu_s,
                "cpu_share_of_floor": flops / best_cpu / cpu_s if cpu_s and on_cpu else 0.0,
                "peak_mb": max(one["peak_mb"][name] for one in rounds),
            }
        )
    outside = median(one["seconds"] - sum(one["phases"].values()) for one in rounds)
    return [*rows, {"phase": _OUTSIDE, "seconds": outside}]


def _rates(rounds: Sequence[dict[str, Any]], *, clock: str) -> dict[str, float]:
    names = rounds[0]["rates"]
    return {name: median(one["rates"][name][clock] for one in rounds) for name in names}
