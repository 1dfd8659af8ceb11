from __future__ import annotations

import pytest

from feedback.errors import Unprocessable
from moderation import policy
from moderation.categories import CATEGORIES
from moderation.policy import Stage, Thresholds, decide, override

CLEAN = dict.fromkeys(CATEGORIES, 0.0)


@pytest.mark.parametrize(
    ("scores", "blocked"),
    [
        ({}, []),
        ({"hate": 0.499}, []),
        ({"hate": 0.5}, ["hate"]),
        ({"violence": 0.9, "harassment": 0.6}, ["harassment", "violence"]),
        ({"illicit": 1.0, "violence/graphic": 1.0}, []),
    ],
)
def test_a_category_blocks_from_its_threshold_on(
    scores: dict[str, float], blocked: list[str]
) -> None:
    assert decide({**CLEAN, **scores}) == blocked


@pytest.mark.parametrize(("stage", "blocked"), [("prompt", []), ("completion", ["sexual"])])
def test_stages_have_thresholds_of_their_own(stage: Stage, blocked: list[str]) -> None:
    thresholds = Thresholds(prompt={"sexual": 0.9}, completion={"sexual": 0.4})
    assert decide({**CLEAN, "sexual": 0.6}, stage=stage, thresholds=thresholds) == blocked


def test_an_override_replaces_one_threshold_and_null_switches_off() -> None:
    limits = override({"hate": 0.5, "sexual": 0.5}, {"hate": 0.8, "sexual": None})
    assert limits == {"hate": 0.8}


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("hat", 0.5, "use one of"),
        ("illicit", 0.5, "not scored"),
        ("hate", 0.0, "0 < x <= 1"),
        ("hate", 1.5, "0 < x <= 1"),
        ("hate", float("nan"), "0 < x <= 1"),
    ],
)
def test_a_threshold_without_a_meaning_is_refused_with_the_cure(
    name: str, value: float, cure: str
) -> None:
    with pytest.raises(Unprocessable, match=cure):
        override(policy.DEFAULT.prompt, {name: value})
