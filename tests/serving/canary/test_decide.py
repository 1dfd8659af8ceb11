from __future__ import annotations

from typing import Any

import pytest

from serving.canary.decide import decide
from serving.canary.figures import Figures
from serving.canary.state import Limits

LIMITS = Limits(min_s=600, max_s=3600)


def counted(*, failed: int = 0, flagged: int = 0, down: int = 0, votes: Any = ()) -> Figures:
    """So many people of the canary's arm, at a share of 0.1, to whom it happened; mean votes of others."""
    figures = Figures(canary="can_1", through={})
    for name, people in (("errors", failed), ("flags", flagged), ("thumbs_down", down)):
        for number in range(people):
            figures.bad[name].add(f"{name}{number}", "canary", share=0.1)
    for number, vote in enumerate(votes):
        figures.pairs.complete[f"v{number}"] = vote
    return figures


@pytest.mark.parametrize(
    ("figures", "elapsed_s", "status", "action", "is_final", "says"),
    [
        (counted(), 0, "running", "hold", False, "not decided"),
        (counted(failed=2), 5, "running", "hold", False, "not decided"),
        (counted(failed=3), 5, "running", "roll_back", True, "answers fail"),
        (counted(flagged=3), 5, "running", "roll_back", True, "moderation flags"),
        (counted(down=3), 5, "running", "roll_back", True, "thumb down"),
        (counted(failed=3), 5, "held", "roll_back", True, "answers fail"),
        (counted(votes=[0.0] * 11), 5, "running", "roll_back", True, "prefer production"),
        (counted(votes=[1.0] * 11), 5, "running", "hold", False, "not decided"),
        (counted(votes=[1.0] * 11), 700, "running", "promote", True, "prefer the canary"),
        (counted(votes=[1.0] * 11), 700, "held", "hold", False, "operator"),
        (counted(votes=[1.0] * 11, failed=3), 700, "running", "roll_back", True, "fail"),
        (counted(votes=[0.6, 0.4] * 20), 3599, "running", "hold", False, "not decided"),
        (counted(votes=[0.6, 0.4] * 20), 3600, "running", "hold", True, "no test has decided"),
    ],
)
def test_the_verdict(
    figures: Figures, elapsed_s: float, status: Any, action: str, is_final: bool, says: str
) -> None:
    verdict = decide(figures, LIMITS, elapsed_s=elapsed_s, status=status)
    assert (verdict.action, verdict.is_final) == (action, is_final)
    assert says in verdict.reason


def test_at_the_end_it_is_promoted_where_that_was_set() -> None:
    limits = Limits(max_s=10, on_end="promote")
    verdict = decide(counted(), limits, elapsed_s=10, status="running")
    assert (verdict.action, verdict.is_final) == ("promote", True)


def test_the_tests_share_alpha_and_a_stricter_one_waits_longer() -> None:
    verdict = decide(counted(failed=3), LIMITS, elapsed_s=5, status="running")
    assert [test.needed for test in verdict.tests] == [100.0] * 5
    strict = Limits(alpha=0.001)
    waits = decide(counted(failed=3), strict, elapsed_s=5, status="running")
    assert waits.action == "hold"
