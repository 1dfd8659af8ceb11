from __future__ import annotations

from typing import Any

import pytest

from feedback.events import Choice, Completion, Feedback
from serving.canary.count import score_of, take_answer, take_judgement
from serving.canary.figures import Figures
from tests.serving.canary.test_people import canary

CANARY = canary(0.5)  # policy-0007 beside policy-0006


def answer(name: str, version: str, *, arm: str | None = None, **fields: Any) -> Completion:
    choice = Choice(index=0, text="four", token_ids=[1], logprobs=[-1.0], finish_reason="stop")
    drawn = {"canary": "can_1", "arm": arm, "share": 0.5} if arm else None
    return Completion(
        **{
            "id": name,
            "created": 1.0,
            "key_id": "key_1",
            "tenant": "t",
            "endpoint": "chat",
            "request": {"messages": [{"role": "user", "content": name}]},
            "prompt_ids": [1],
            "choices": [choice],
            "version": version,
            "version_last": version,
            "digest": "d",
            "latency_ms": 100.0,
            "drawn": drawn,
            **fields,
        }
    )


def said(form: str, body: dict[str, Any], **fields: Any) -> Feedback:
    who = {"labeler": "ann", "tenant": "t", "source": "key", "key_id": "key_1"}
    about = {"completion_ids": [], "id": "fbk_1", "created": 1.0}
    return Feedback(**{**who, **about, "form": form, "body": body, **fields})


def ranking(*tiers: str, names: str) -> Feedback:
    candidates = [{"completion_id": name, "index": 0} for name in names]
    return said("ranking", {"candidates": candidates, "tiers": [list(tier) for tier in tiers]})


NEW_A, NEW_B = answer("x", "policy-0007"), answer("y", "policy-0007")
OLD_A, OLD_B = answer("p", "policy-0006"), answer("q", "policy-0006")
ALL = {each.id: each for each in (NEW_A, NEW_B, OLD_A, OLD_B)}


@pytest.mark.parametrize(
    ("tiers", "score"),
    [
        (("ab", "cd"), 1.0),  # both of the canary before both of production's
        (("cd", "ab"), 0.0),
        (("abcd",), 0.5),
        (("a", "c", "b", "d"), 0.75),
        (("a", "cb", "d"), 0.875),
    ],
)
def test_a_ranking_is_a_share_of_its_pairs_between_the_versions(
    tiers: tuple[str, ...], score: float
) -> None:
    assert score_of(ranking(*tiers, names="xypq"), ALL, canary=CANARY) == score


def test_a_set_compares_versions_only_when_each_answer_is_of_one_of_them() -> None:
    one_version = score_of(ranking("a", "b", names="xy"), ALL, canary=CANARY)
    mixed = ALL | {"p": answer("p", "policy-0006", version_last="policy-0007")}
    other = ALL | {"p": answer("p", "policy-0003")}
    unknown = {name: each for name, each in ALL.items() if name != "p"}
    sets = [
        score_of(ranking("a", "b", names="xp"), each, canary=CANARY)
        for each in (mixed, other, unknown)
    ]
    assert [one_version, *sets] == [None] * 4


def test_answers_count_for_the_arm_that_was_drawn() -> None:
    figures = Figures(canary="can_1", through={})
    flagged = {"flagged": {"prompt": [], "choices": [["hate"]]}}
    for event in (
        answer("1", "policy-0007", arm="canary", end_user="u1", first_token_ms=20.0),
        answer("2", "policy-0007", arm="canary", end_user="u1", moderation=flagged),
        answer("3", "policy-0007", arm="canary", end_user="u2", complete=False, broken_by="client"),
        answer(
            "4", "policy-0006", arm="production", complete=False, broken_by="engine", choices=[]
        ),
        answer("5", "policy-0006"),  # nobody was drawn
    ):
        take_answer(figures, event)
    ours, theirs = figures.arms["canary"], figures.arms["production"]
    assert (ours.answers, ours.errors, ours.flags, ours.num_whole) == (3, 0, 1, 2)
    assert (theirs.answers, theirs.errors, theirs.num_whole) == (1, 1, 0)
    assert sum(ours.first_token.values()) == 1
    assert figures.bad["flags"].by_share() == [(0.5, 1, 0)]
    assert figures.bad["errors"].by_share() == [(0.5, 0, 1)]


def test_answers_of_another_canary_are_not_this_one_s() -> None:
    figures = Figures(canary="can_2", through={})
    take_answer(figures, answer("1", "policy-0007", arm="canary"))
    assert figures.arms["canary"].answers == 0


def test_an_app_s_thumbs_are_its_users_and_a_labeler_s_are_one_person_s() -> None:
    for source, people in (("key", 3), ("labeler", 1)):
        figures = Figures(canary="can_1", through={})
        for number in range(3):
            about = answer(f"{number}", "policy-0007", arm="canary", end_user=f"u{number}")
            body = {"completion_id": about.id, "thumb": "down"}
            thumb = said("rating", body, source=source)
            take_judgement(figures, thumb, {about.id: about}, canary=CANARY)
        assert figures.arms["canary"].thumbs_down == 3
        assert len(figures.bad["thumbs_down"].people) == people


def test_the_last_word_on_a_set_counts_until_it_has_counted() -> None:
    figures = Figures(canary="can_1", through={})
    first = ranking("a", "b", names="xp")
    second = said("ranking", {**first.body, "tiers": [["b"], ["a"]]}, id="fbk_2", replaces="fbk_1")
    for event in (first, second):
        take_judgement(figures, event, ALL, canary=CANARY)
    assert (figures.pairs.votes, figures.pairs.wins) == (1, 0.0)
    back = said("retraction", {"of": "fbk_2"}, id="fbk_3")
    take_judgement(figures, back, {}, canary=CANARY)
    assert figures.pairs.votes == 0
