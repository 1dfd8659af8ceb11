from __future__ import annotations

import typing
from pathlib import Path

import pytest

from moderation.categories import CATEGORIES, SCORED, UNSCORED

README = Path(__file__).parents[2] / "moderation" / "README.md"


def test_the_names_are_those_of_the_openai_client() -> None:
    moderation = pytest.importorskip("openai.types.moderation", reason="openai is not installed")
    fields = typing.cast(dict[str, typing.Any], moderation.CategoryScores.model_fields)
    assert {field.alias or name for name, field in fields.items()} == set(CATEGORIES)


def test_every_category_is_scored_or_said_not_to_be() -> None:
    assert set(SCORED).isdisjoint(UNSCORED)
    assert set(SCORED) | set(UNSCORED) == set(CATEGORIES)


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_readme_says_whether_a_category_is_scored(name: str) -> None:
    answer = "yes" if name in SCORED else "**no**"
    assert f"| `{name}` | {answer} |" in README.read_text(encoding="utf-8")
