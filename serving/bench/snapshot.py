"""A snapshot of a log of N events, and of ten times as many: events a second, and memory at its highest.

Beside it in the same run: reading and decoding the same events, and nothing else. Each in a process of its
own, so that one's memory is not the other's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.bench.report import Row, machine

_WHAT = ("floor", "snapshot")


async def run(
    *, sizes: Sequence[int], folder: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """A row for each number of events. `folder`: where there is room (default: the temporary folder)."""
    rows = []
    for num_events in sizes:
        found = {}
        for what in _WHAT:
            say(f"{num_events:,} events: {what}")
            found[what] = _measured(what, num_events, folder)
        rows.append(_row(found["floor"], found["snapshot"]))
    return {"machine": machine(), "snapshots": rows}


def _measured(what: str, num_events: int, folder: Path | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "serving.bench.snapshot", what, str(num_events)]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        run = subprocess.run([*command, made], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def _row(floor: dict[str, Any], snapshot: dict[str, Any]) -> Row:
    num = snapshot["num_events"]
    return {
        "target": f"{num:,} events",
        "events": num,
        "events_per_s": num / snapshot["seconds"],
        "floor_events_per_s": num / floor["seconds"],
        "times_floor": snapshot["cpu_s"] / floor["cpu_s"],
        "us_per_event": snapshot["cpu_s"] / num * 1e6,
        "peak_mb": snapshot["peak_mb"],
        "floor_peak_mb": floor["peak_mb"],
        "errors": [],
        **{
            name: snapshot[name]
            for name in ("seconds", "judgements", "rankings", "prompts", "masked")
        },
    }


def _floor(num_events: int, _folder: Path) -> dict[str, Any]:
    from feedback.events import Completion, Feedback
    from serving.bench.invented import InventedLog

    log = InventedLog(num_events)
    num = sum(1 for kind in (Feedback.kind, Completion.kind) for _ in log.read(kind))
    return {"num_events": num}


def _snapshot(num_events: int, folder: Path) -> dict[str, Any]:
    from feedback.snapshots import builder
    from feedback.snapshots.people import People
    from feedback.snapshots.rules import Rules
    from serving.bench.invented import InventedLog

    rules = Rules(heldout_share=0.2)
    manifest = builder.create(InventedLog(num_events), folder, rules=rules, people=People())
    parts, events = manifest["parts"], manifest["events"]
    return {
        "num_events": sum(events[kind]["num"] for kind in events),
        "judgements": events["feedback"]["num"],
        "rankings": parts["rankings"]["rows"],
        "prompts": parts["prompts"]["rows"],
        "masked": sum(part.get("masked", 0) for part in parts.values()),
    }


def _main(what: str, num_events: int, folder: Path) -> None:
    """In the child: one line of JSON."""
    started, cpu_before = time.perf_counter(), time.process_time()
    found = {"floor": _floor, "snapshot": _snapshot}[what](num_events, folder)
    found["seconds"] = time.perf_counter() - started
    found["cpu_s"] = time.process_time() - cpu_before
    found["peak_mb"] = _peak_mb()
    sys.stdout.write(json.dumps(found))


def _peak_mb() -> float:
    # Not ru_maxrss: that of a child begins with what its parent held when it was forked.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
