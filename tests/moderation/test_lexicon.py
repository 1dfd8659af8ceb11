from __future__ import annotations

import pytest

from moderation import composed, lexicon


@pytest.mark.parametrize(
    "text", ["a 14 year old", "my little sister", "an underage student", "she was 12"]
)
def test_who_speaks_of_minors_is_heard(text: str) -> None:
    assert lexicon.minor(text) > 0.5


@pytest.mark.parametrize(
    "text", ["", "a 45 year old man", "The meeting is at 12:30.", "two adults"]
)
def test_others_are_not(text: str) -> None:
    assert lexicon.minor(text) < 0.1


def test_every_form_of_a_word_counts_and_groups_overlap() -> None:
    counts = dict(
        zip(
            lexicon.GROUPS,
            lexicon.counts(lexicon.words("You're stabbing him; he stabbed")),
            strict=True,
        )
    )
    assert counts["attack"] == 2
    assert lexicon.graphic("blood and guts, the throat slit") > lexicon.graphic("blood") > 0


def test_a_composed_score_needs_both_parts() -> None:
    scores = {"sexual": 0.9, "violence": 0.8}
    plain = composed.with_composed(scores, "two adults in a quiet house")
    assert plain["sexual/minors"] < 0.1
    assert plain["violence/graphic"] == 0.0
    bloody = composed.with_composed(scores, "blood, guts and a slit throat")
    assert 0.5 < bloody["violence/graphic"] < scores["violence"]
    low = composed.with_composed({"sexual": 0.01, "violence": 0.01}, "the child, aged 9, saw blood")
    assert max(low["sexual/minors"], low["violence/graphic"]) < 0.01
