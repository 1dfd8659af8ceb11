"""Why a judgement is left out. Each has one reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from feedback.events import Feedback
from feedback.snapshots.people import People, Standing
from tests.feedback.snapshots.log import (
    answer,
    completion,
    freeze,
    ranking,
    removed,
    retraction,
    rows,
)


def from_labeler(event: Feedback) -> Feedback:
    """Somebody with a labeler record said it."""
    return dataclasses.replace(event, source="labeler")


def test_only_the_last_judgement_of_a_labeler_on_a_set_counts(tmp_path: Path) -> None:
    first = ranking(1, ["a"], ["b"], ["c"], id="fbk_first")
    second = ranking(1, ["c"], ["b"], ["a"], id="fbk_second")
    other = ranking(1, ["b"], ["c"], ["a"], labeler="bert")
    namesake = ranking(1, id="fbk_namesake", tenant="another")
    manifest = freeze(tmp_path, completion(1), first, other, second, namesake)
    found = {row["id"] for row in rows(tmp_path, "rankings")}
    assert found == {"fbk_ranking_1_bert", "fbk_second", "fbk_namesake"}
    assert removed(manifest) == {"changed_later": 1}


def test_what_was_taken_back_does_not_count_nor_what_came_before_it(tmp_path: Path) -> None:
    first, second = ranking(1, id="fbk_first"), ranking(1, id="fbk_second")
    manifest = freeze(tmp_path, completion(1), first, second, retraction("fbk_second"))
    assert rows(tmp_path, "rankings") == []
    assert removed(manifest) == {"changed_later": 1, "retracted": 1}


def test_nobody_takes_back_what_another_one_said(tmp_path: Path) -> None:
    events = (completion(1), ranking(1, id="fbk_annas"), retraction("fbk_annas", labeler="mallory"))
    assert removed(freeze(tmp_path, *events)) == {}


def test_a_judgement_that_was_replaced_does_not_count(tmp_path: Path) -> None:
    first = ranking(1, id="fbk_first")
    second = ranking(2, replaces="fbk_first")
    manifest = freeze(tmp_path, completion(1), completion(2), first, second)
    assert [row["prompt_ids"] for row in rows(tmp_path, "rankings")] == [[1, 2]]
    assert removed(manifest) == {"replaced": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version_last": "policy-0001"}, "mixed_versions"),
        ({"complete": False}, "incomplete"),
        ({"prompt_ids": []}, "no_prompt"),
        ({"moderation": {"prompt": {"hate": 0.5}}}, "flagged_by_moderation"),
        ({"moderation": {"choices": [{}, {"hate": 0.9}, {}]}}, "flagged_by_moderation"),
        ({"choices": [answer(1, i, blocked=i == 2) for i in range(3)]}, "blocked"),
        ({"choices": [answer(1, 0), answer(1, 1, token_ids=[]), answer(1, 2)]}, "incomplete"),
        ({"choices": [answer(1, 0), answer(1, 1)]}, "completion_missing"),
        ({"id": "chatcmpl-other"}, "completion_missing"),
    ],
)
def test_answers_that_must_not_train_are_left_out_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    manifest = freeze(tmp_path, completion(1, **changes), ranking(1))
    assert manifest["parts"]["rankings"].get("rows", 0) == 0
    assert removed(manifest) == {reason: 1}
    assert rows(tmp_path, "undecided") == []


def test_scores_below_the_limit_pass_and_unscored_texts_too(tmp_path: Path) -> None:
    scores = {"prompt": {"hate": 0.49}, "choices": [{"hate": 0.1}]}
    manifest = freeze(tmp_path, completion(1, moderation=scores), ranking(1))
    assert removed(manifest) == removed(manifest, "prompts") == {}


def test_answers_to_two_prompts_are_no_ranking(tmp_path: Path) -> None:
    both = ranking(1)
    both.body["candidates"][1]["completion_id"] = "chatcmpl-2"
    manifest = freeze(tmp_path, completion(1), completion(2), both)
    assert removed(manifest) == {"different_prompts": 1}


def test_sets_with_known_answers_never_train(tmp_path: Path) -> None:
    people = People(known_answers=frozenset({"chatcmpl-1"}))
    events = (completion(1), completion(2), ranking(1), ranking(2))
    manifest = freeze(tmp_path, *events, people=people)
    assert [row["prompt_ids"] for row in rows(tmp_path, "rankings")] == [[1, 2]]
    assert removed(manifest) == {"known_answer": 1}


def test_labelers_who_are_not_active_or_weigh_nothing_are_left_out(tmp_path: Path) -> None:
    people = People(
        labelers={"lab_new": Standing(is_active=False), "lab_liar": Standing()},
        weights={"lab_liar": 0.0, "lab_new": 1.0},
    )
    judged = [ranking(1, labeler=name) for name in ("lab_new", "lab_liar", "lab_unknown")]
    manifest = freeze(
        tmp_path, completion(1), *map(from_labeler, judged), ranking(1), people=people
    )
    assert [row["labeler"] for row in rows(tmp_path, "rankings")] == ["anna"]
    assert removed(manifest) == {"labeler_weighs_nothing": 3}


def test_heldout_labelers_are_in_the_heldout_part_only(tmp_path: Path) -> None:
    people = People(labelers={"lab_h": Standing(is_heldout=True), "lab_t": Standing()})
    judged = [ranking(n, labeler=name) for n in range(40) for name in ("lab_h", "lab_t")]
    freeze(
        tmp_path,
        *map(completion, range(40)),
        *map(from_labeler, judged),
        people=people,
        heldout_share=0.3,
    )
    sides: dict[str, set[str]] = {"lab_h": set(), "lab_t": set()}
    for row in rows(tmp_path, "rankings"):
        sides[row["labeler"]].add(row["split"])
        assert row.get("heldout_by") == ("labeler" if row["labeler"] == "lab_h" else None)
    assert sides == {"lab_h": {"heldout"}, "lab_t": {"train", "heldout"}}


def test_a_busy_labeler_and_a_busy_user_are_cut_to_their_share(tmp_path: Path) -> None:
    events = [completion(n) for n in range(200)]
    judged = [ranking(n, labeler="busy") for n in range(200)]
    judged += [ranking(n, labeler=f"other-{n % 5}") for n in range(50)]
    manifest = freeze(
        tmp_path, *events, *judged, cap_from=5, max_labeler_share=0.25, max_user_share=0.1
    )
    found = rows(tmp_path, "rankings")
    labelers = [row["labeler"] for row in found]
    assert max(labelers.count(name) for name in set(labelers)) <= 0.25 * len(found)
    assert labelers.count("busy") >= 10
    users = [row["prompt_ids"][1] % 20 for row in found]
    assert max(users.count(user) for user in set(users)) <= 0.1 * len(found)
    assert removed(manifest)["over_labeler_cap"] > 100
