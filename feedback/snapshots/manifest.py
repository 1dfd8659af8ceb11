"""What a snapshot holds and what was left out, counted. Written last: without it there is no snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from feedback.snapshots.filters import REASONS
from feedback.snapshots.judged import DEMONSTRATIONS, RANKINGS
from feedback.snapshots.staging import Staging

Funnel = list[dict[str, Any]]


def funnel(offered: int, removed: Mapping[str, int], order: Iterable[str]) -> Funnel:
    """What each filter took away, and what was left after it."""
    steps: Funnel = [{"filter": "read", "removed": 0, "left": offered}]
    for reason in order:
        if count := removed.get(reason, 0):
            offered -= count
            steps.append({"filter": reason, "removed": count, "left": offered})
    return steps


def judgement_funnels(staging: Staging) -> dict[str, Funnel]:
    """Of rankings (comparisons are rankings of two) and of demonstrations."""
    removed: dict[str, dict[str, int]] = {RANKINGS: {}, DEMONSTRATIONS: {}}
    offered = dict.fromkeys(removed, 0)
    query = "SELECT part, reason, count(*) FROM judgements GROUP BY part, reason"
    for part, reason, count in staging.rows(query):
        offered[part] += count
        if reason is not None:
            removed[part][reason] = count
    return {part: funnel(offered[part], removed[part], REASONS) for part in removed}


def removed_by(steps: Funnel) -> dict[str, int]:
    return {step["filter"]: step["removed"] for step in steps if step["removed"]}


def labelers(staging: Staging) -> Iterable[dict[str, Any]]:
    """Who judged, how much of it is used, and how much it weighs."""
    query = """
    SELECT labeler, count(*), sum(reason IS NULL), max(weight), max(is_heldout) FROM judgements
    GROUP BY judge ORDER BY labeler
    """
    for labeler, given, used, weight, is_heldout in staging.rows(query):
        yield {
            "labeler": labeler,
            "judgements": given,
            "used": used,
            "weight": weight,
            "is_heldout": bool(is_heldout),
        }


def num_end_users(staging: Staging) -> int:
    """Whose prompts or answers are in the snapshot."""
    query = """
    SELECT count(*) FROM (
        SELECT person FROM judgements WHERE reason IS NULL UNION SELECT person FROM prompts)
    """
    return int(staging.db.execute(query).fetchone()[0])
