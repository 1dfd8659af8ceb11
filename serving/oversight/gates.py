"""What the gate said of a candidate, with or without people's texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from serving.oversight.round_files import RoundFiles, read_json

_TEXTS = ("samples", "flagged")  # prompts and answers of people
_LOOK_BACK = 20  # rounds, for the last verdict


def report(files: RoundFiles, round_id: str, *, with_texts: bool) -> dict[str, Any] | None:
    """The whole report of a round; None: its gate has not judged."""
    found = files.report(round_id, "gate")
    if found is None or with_texts:
        return found
    return {name: value for name, value in found.items() if name not in _TEXTS}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Each check of a report in a line, and the file in the round's folder that its figure is from."""
    for check in found.get("checks", []):
        value, interval = check.get("value"), check.get("interval")
        said = "not measured" if value is None else f"{value:.4g}"
        if value is not None and interval and None not in interval:
            said += f" ({interval[0]:.4g} to {interval[1]:.4g})"
        words = ("passed" if check["passed"] else "failed", check["name"], said)
        line = f"{words[0]:7} {words[1]:30} {words[2]:32} limit {check['limit']:<8.4g} "
        line += check.get("evidence", "")
        yield line.rstrip() + (f"  {check['note']}" if check.get("note") else "")


def verdict(files: RoundFiles, round_id: str) -> dict[str, Any] | None:
    """Passed or not, and which checks it failed."""
    folder = files.folder(round_id)
    if folder is None:
        return None
    path = folder / "gate" / "report.json"
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        return None
    return _verdict(path, round_id, changed_ns)


def last(files: RoundFiles, newest_round: int) -> dict[str, Any] | None:
    """The newest verdict of the last rounds."""
    for number in range(newest_round, max(0, newest_round - _LOOK_BACK), -1):
        if (found := verdict(files, f"round-{number:04d}")) is not None:
            return found
    return None


@lru_cache(maxsize=1024)
def _verdict(path: Path, round_id: str, changed_ns: int) -> dict[str, Any] | None:
    found = read_json(path)
    if found is None:
        return None
    checks = found.get("checks", [])
    return {
        "round_id": round_id,
        "passed": bool(found.get("passed")),
        "failed_checks": [check["name"] for check in checks if not check["passed"]],
        "num_checks": len(checks),
        "win_rate": _estimate(found, "win_rate"),
        "kl_nats": _estimate(found, "kl_nats"),
        "judged": changed_ns / 1e9,
    }


def _estimate(found: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = found.get("evidence", {}).get(name)
    return value if isinstance(value, dict) else None
