from __future__ import annotations

import random

import pytest

from moderation.counterfactuals import counterfactuals, swapped
from moderation.dataset import Row
from moderation.inferred import completed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Women are great, women rule.", " are great, "),
        ("My neighbor is a muslim.", "My neighbor is a "),
        ("No gay person deserves to die.", " person deserves to die."),
    ],
)
def test_another_group_is_named_and_the_rest_stays(text: str, kept: str) -> None:
    other = swapped(text, random.Random(0))
    assert kept in other
    assert other != text


def test_every_mention_becomes_the_same_group() -> None:
    first, _, second = swapped("Muslims and muslims", random.Random(1)).partition(" and ")
    assert first.lower() == second


def test_a_colour_is_no_group() -> None:
    assert swapped("a black cat", random.Random(0)) == "a black cat"


def test_copies_keep_their_labels_and_are_as_many_of_each_kind() -> None:
    rows = [
        Row(text=f"{number} women are fine", source="a", labels={"hate": int(number % 4 == 0)})
        for number in range(100)
    ]
    made = counterfactuals(rows, num=20)
    assert sum(row.labels["hate"] for row in made) == 10
    assert len(made) == 20
    assert made == counterfactuals(rows, num=20)


def test_hatechecks_harmless_cases_are_harmless_in_every_category() -> None:
    def harassment(text: str) -> int | None:
        row = Row(text=text, source="hatecheck", labels={"hate": 0})
        return completed(row).labels.get("harassment")

    assert harassment('Statements like "women are scum" are deeply hurtful.') == 0
    assert harassment("I'm so fucking excited.") == 0
    assert harassment("You are repugnant.") is None
