from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from feedback.quality.intervals import Estimate
from training.moderation.gate import Limits, ModerationEvidence, judge

GOOD = ModerationEvidence(
    digest="d",
    num_heldout_labels=40,
    loss_change=Estimate(value=-0.5, low=-0.8, high=-0.2, num_units=40),
    errors_change=-0.3,
    benign_flagged_change=0.0,
    area_drop=0.01,
)


def test_better_on_what_was_said_and_no_worse_elsewhere_passes() -> None:
    report = judge(GOOD, Limits())
    assert report.passed
    assert report.digest == "d"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_heldout_labels": 19}, "heldout_labels"),
        (
            {"loss_change": Estimate(value=-0.1, low=-0.3, high=0.1, num_units=40)},
            "heldout_loss_change",
        ),
        (
            {"loss_change": Estimate(value=math.nan, low=-1, high=-1, num_units=0)},
            "heldout_loss_change",
        ),
        ({"errors_change": 0.01}, "heldout_errors_change"),
        ({"errors_change": math.nan}, "heldout_errors_change"),
        ({"benign_flagged_change": 0.003}, "benign_flagged_change"),
        ({"area_drop": 0.031}, "area_drop"),
        ({"area_drop": math.nan}, "area_drop"),
    ],
)
def test_each_check_alone_refuses_and_so_does_what_could_not_be_measured(
    changes: dict[str, Any], name: str
) -> None:
    report = judge(replace(GOOD, **changes), Limits())
    assert not report.passed
    assert [check.name for check in report.checks if not check.passed] == [name]
