from __future__ import annotations

import pytest

from feedback.errors import Unprocessable
from moderation.policy import (
    Actions,
    Stage,
    Thresholds,
    allows_all,
    checked_actions,
    decide,
    override,
)

SCORES = {"harassment": 0.3, "hate": 0.6, "sexual": 0.2, "violence": 0.9}
FLAGGED = ["hate", "violence"]


@pytest.mark.parametrize(
    ("actions", "flagged", "blocked"),
    [
        ({}, FLAGGED, FLAGGED),
        ({"all": "flag"}, FLAGGED, []),
        ({"all": "allow"}, [], []),
        ({"hate": "allow"}, ["violence"], ["violence"]),
        ({"all": "allow", "hate": "flag"}, ["hate"], []),
        ({"all": "flag", "violence": "block"}, FLAGGED, ["violence"]),
    ],
)
def test_a_key_says_by_category_what_happens_to_a_flagged_text(
    actions: Actions, flagged: list[str], blocked: list[str]
) -> None:
    decision = decide(SCORES, flagged=FLAGGED, actions=actions)
    assert (decision.flagged, decision.blocked) == (flagged, blocked)


def test_a_request_that_wants_no_flagged_text_gets_none_whatever_its_key_allows() -> None:
    decision = decide(SCORES, flagged=FLAGGED, actions={"all": "allow"}, must_block=True)
    assert decision.blocked == FLAGGED


@pytest.mark.parametrize(
    ("limits", "blocked"),
    [
        ({}, FLAGGED),
        ({"hate": 0.7}, ["violence"]),
        ({"hate": None, "violence": None}, []),
        ({"sexual": 0.2}, ["hate", "sexual", "violence"]),
        ({"illicit": 0.1}, FLAGGED),  # nobody judged it
    ],
)
def test_an_operator_s_border_goes_before_the_server_s_flag(
    limits: dict[str, float | None], blocked: list[str]
) -> None:
    assert decide(SCORES, flagged=FLAGGED, limits=limits).blocked == blocked


@pytest.mark.parametrize(("stage", "limit"), [("prompt", 0.9), ("completion", 0.4)])
def test_stages_have_borders_of_their_own(stage: Stage, limit: float) -> None:
    thresholds = Thresholds(prompt={"sexual": 0.9}, completion={"sexual": 0.4})
    assert thresholds.of(stage) == {"sexual": limit}


@pytest.mark.parametrize(
    ("actions", "is_true"),
    [({}, False), ({"all": "allow"}, True), ({"all": "allow", "hate": "flag"}, False)],
)
def test_where_everything_is_allowed_nobody_need_be_asked(actions: Actions, is_true: bool) -> None:
    assert allows_all(actions) is is_true


def test_an_override_replaces_one_threshold_and_null_switches_off() -> None:
    limits = override({"hate": 0.5, "sexual": 0.5}, {"hate": 0.8, "sexual": None})
    assert limits == {"hate": 0.8}


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("hat", 0.5, "use one of"),
        ("hate", 0.0, "0 < x <= 1"),
        ("hate", 1.5, "0 < x <= 1"),
        ("hate", float("nan"), "0 < x <= 1"),
    ],
)
def test_a_threshold_without_a_meaning_is_refused_with_the_cure(
    name: str, value: float, cure: str
) -> None:
    with pytest.raises(Unprocessable, match=cure):
        override({"hate": 0.5}, {name: value})


@pytest.mark.parametrize(("given", "cure"), [({"hat": "flag"}, "'all'"), ({"hate": "no"}, "block")])
def test_an_action_that_means_nothing_is_refused_with_the_cure(
    given: dict[str, str], cure: str
) -> None:
    with pytest.raises(Unprocessable, match=cure):
        checked_actions(given)
