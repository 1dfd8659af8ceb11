"""Rounds, as the workers wrote them into Redis and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serving import round_states
from serving.exported.families import Sample
from serving.oversight import gates, rounds
from serving.oversight.round_files import RoundFiles

LOOK_BACK = 20  # rounds among which the last one of each kind is looked for


def samples(states: list[dict[str, Any]], files: RoundFiles, *, is_held: bool) -> Iterator[Sample]:
    """Of the newest rounds, the newest first. `is_held`: a worker has the lease."""
    newest = states[0] if states else {}
    is_under_way = newest.get("status") in round_states.UNDER_WAY
    yield "hone_round_under_way", (), float(is_under_way)
    yield "hone_round_worker_up", (), float(is_held)
    yield from _ended(states)
    if newest:
        yield from _newest(newest)
        yield from _gate(files, rounds.number(newest["round_id"]))


def _newest(state: dict[str, Any]) -> Iterator[Sample]:
    name, step = str(state["round_id"]), str(state.get("step", ""))
    about = (name, rounds.kind(state), str(state.get("status", "")), step)
    yield "hone_round_info", about, 1.0
    is_under_way = state.get("status") in round_states.UNDER_WAY
    attempts = state.get(f"attempts:{step}", 0) if is_under_way else 0
    yield "hone_round_attempts", (), float(attempts)
    yield "hone_round_started_timestamp_seconds", (), float(state.get("started", 0))
    yield "hone_round_spent_seconds", (), float(state.get("spent_s", 0))
    share = rounds.share_done(state)
    if share is not None and is_under_way:
        yield "hone_round_progress_ratio", (), share
    for figure, value in rounds.progress(state).items():
        if "/" in figure and isinstance(value, int | float):
            yield "hone_round_figure", (name, figure), float(value)


def _ended(states: list[dict[str, Any]]) -> Iterator[Sample]:
    kinds: set[str] = set()
    for state in states:
        kind, status = rounds.kind(state), str(state.get("status", ""))
        if status not in round_states.ENDED or kind in kinds:
            continue
        kinds.add(kind)
        yield "hone_round_outcome", (kind, str(state["round_id"]), status), 1.0
        yield "hone_round_ended_timestamp_seconds", (kind,), float(state.get("ended", 0))


def _gate(files: RoundFiles, newest: int) -> Iterator[Sample]:
    verdict = gates.last(files, newest)
    if verdict is None:
        return
    name = (str(verdict["round_id"]),)
    yield "hone_gate_passed", name, float(verdict["passed"])
    for figure in ("win_rate", "kl_nats"):
        value = (verdict[figure] or {}).get("value")
        if isinstance(value, int | float):
            yield f"hone_gate_{figure}", name, float(value)
