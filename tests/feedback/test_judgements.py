from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feedback.judgements import Comparison, Demonstration, Ranking, Rating, body_of

ABC = [{"completion_id": "chatcmpl-1", "index": i} for i in range(3)]


def test_a_ranking_keeps_candidates_and_tiers_as_the_log_reads_them() -> None:
    body = body_of(Ranking.model_validate({"candidates": ABC, "tiers": [["b"], ["a", "c"]]}))
    assert body["candidates"] == ABC
    assert body["tiers"] == [["b"], ["a", "c"]]
    assert "labeler" not in body


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tiers": [["a"], ["b"]]}, "tiers"),  # c is missing
        ({"tiers": [["a"], ["b"], ["c", "a"]]}, "tiers"),  # a is named twice
        ({"tiers": [["a"], ["b"], ["c"], ["d"]]}, "tiers"),  # there is no d
        ({"tiers": [["a", "b", "c"], []]}, "tiers"),
        ({"tiers": []}, "tiers"),
        ({"candidates": ABC[:1], "tiers": [["a"]]}, "candidates"),
        ({"candidates": [ABC[0], ABC[0], ABC[1]]}, "candidates"),
        ({"candidates": [{"completion_id": "x", "index": i} for i in range(10)]}, "candidates"),
        ({"shown_order": ["a", "b"]}, "shown_order"),
        ({"ratings": {"d": {"likert": 4}}}, "ratings"),
        ({"ratings": {"a": {"likert": 8}}}, "ratings"),
        ({"ratings": {"a": {"flags": {"nonsense": True}}}}, "ratings"),
        ({"duration_ms": -1}, "duration_ms"),
        ({"duration_ms": True}, "duration_ms"),  # JSON's true is no number
        ({"duration_ms": "5"}, "duration_ms"),
        ({"all_bad": "yes"}, "all_bad"),
        ({"note": "x" * 4001}, "note"),
        ({"mood": "good"}, "mood"),
    ],
)
def test_a_ranking_that_cannot_be_true_is_refused_by_field(
    changes: dict[str, Any], field: str
) -> None:
    body = {"candidates": ABC, "tiers": [["a"], ["b"], ["c"]], **changes}
    with pytest.raises(ValidationError) as caught:
        Ranking.model_validate(body)
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("preference", [-3, 0, 3])
def test_a_comparison_goes_from_much_worse_to_much_better(preference: int) -> None:
    body = {"a": ABC[0], "b": ABC[1], "preference": preference}
    assert Comparison.model_validate(body).preference == preference


@pytest.mark.parametrize(
    "changes",
    [
        {"preference": 4},
        {"preference": None},
        {"b": ABC[0]},
        {"preference": 0.5},
        {"preference": True},
    ],
)
def test_a_comparison_that_cannot_be_true_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Comparison.model_validate({"a": ABC[0], "b": ABC[1], "preference": 1, **changes})


def test_a_rating_says_something() -> None:
    for said in ({"likert": 7}, {"thumb": "down"}, {"flags": {"hallucination": True}}):
        Rating.model_validate({"completion_id": "chatcmpl-1", **said})
    for said in ({}, {"likert": 0}, {"thumb": "sideways"}):
        with pytest.raises(ValidationError):
            Rating.model_validate({"completion_id": "chatcmpl-1", **said})


def test_a_demonstration_answers_a_prompt() -> None:
    messages = [{"role": "user", "content": "hi"}]
    Demonstration.model_validate({"messages": messages, "completion": "hello"})
    by_parent = Demonstration.model_validate({"parent": "chatcmpl-1", "completion": "hello"})
    assert [candidate.completion_id for candidate in by_parent.about()] == ["chatcmpl-1"]
    for body in ({"completion": "hello"}, {"messages": messages, "completion": ""}):
        with pytest.raises(ValidationError):
            Demonstration.model_validate(body)
