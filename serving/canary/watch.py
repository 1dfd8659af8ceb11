"""Counts what the log says of a canary, and does what the verdict says. One gateway at a time does it."""

from __future__ import annotations

import time

from serving.canary import figures
from serving.canary.decide import Verdict, decide
from serving.canary.figures import Figures
from serving.canary.state import Canary
from serving.canary.store import Canaries


def look(canaries: Canaries, canary: Canary) -> tuple[Figures, Verdict]:
    """What was counted up to now, and what it means."""
    data = canaries.figures()
    counted = figures.load(data) if data else None
    if counted is None or counted.canary != canary.id:
        counted = Figures(canary=canary.id, through=dict(canary.since))
    elapsed_s = time.time() - canary.started
    return counted, decide(counted, canary.limits, elapsed_s=elapsed_s, status=canary.status)
