"""A canary as the API shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from serving.canary import evidence
from serving.canary.decide import Verdict
from serving.canary.figures import Figures
from serving.canary.state import Canary, Ended


def canary(record: Canary) -> dict[str, Any]:
    """What is known of it from its beginning."""
    shown = asdict(record)
    del shown["since"]
    return shown


def figures(counted: Figures, *, alpha: float) -> dict[str, Any]:
    """Both arms, and the pairs; nobody's name."""
    pairs = counted.pairs
    low, high = evidence.win_rate_interval(pairs.units(), alpha=alpha)
    return {
        **{name: arm.shown() for name, arm in counted.arms.items()},
        "pairs": {
            "votes": pairs.votes,
            "people": len(pairs.complete) + len(pairs.open),
            "people_counted": len(pairs.complete),
            "wins": pairs.wins - pairs.ties / 2,
            "losses": pairs.votes - pairs.wins - pairs.ties / 2,
            "ties": pairs.ties,
            "win_rate": pairs.wins / pairs.votes if pairs.votes else None,
            "low": low,
            "high": high,
        },
    }


def ended(record: Ended) -> dict[str, Any]:
    """How it went, with the figures of its end."""
    return {
        **canary(record.canary),
        "outcome": record.outcome,
        "ended": record.ended,
        "ended_by": record.actor,
        "end_reason": record.reason,
        "figures": record.figures,
        "verdict": record.verdict,
    }


def overview(
    running: Canary | None,
    *,
    counted: Figures | None,
    verdict: Verdict | None,
    history: Iterable[Ended],
) -> dict[str, Any]:
    """GET /admin/canary."""
    alpha = running.limits.alpha if running is not None else 0.05
    return {
        "object": "canary",
        "running": canary(running) if running is not None else None,
        "figures": figures(counted, alpha=alpha) if counted is not None else None,
        "verdict": verdict.shown() if verdict is not None else None,
        "history": [ended(record) for record in history],
    }
