"""When a round will be done, by how long its steps took before: pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

_LAST = 10  # rounds that count: machines and recipes change


def remaining_s(
    steps: Sequence[str],
    step: str,
    *,
    elapsed_s: float,
    share: float | None,
    former: Sequence[Mapping[str, float]],
) -> float | None:
    """Seconds from now; None where nothing is known of a step that is still to come.

    `share`: how much of the step is done, as it says itself; `former`: seconds by step of rounds before,
    newest last.
    """
    usual = _usual(former)
    if share:
        rest = elapsed_s * (1 - share) / share
    elif step in usual:
        rest = max(0.0, usual[step] - elapsed_s)
    else:
        return None
    later = steps[steps.index(step) + 1 :]
    if any(name not in usual for name in later):
        return None
    return rest + sum(usual[name] for name in later)


def _usual(former: Sequence[Mapping[str, float]]) -> dict[str, float]:
    recent = former[-_LAST:]
    return {
        name: statistics.median(took[name] for took in recent if name in took)
        for name in {name for took in recent for name in took}
    }
