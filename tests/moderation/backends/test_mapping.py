from __future__ import annotations

from pathlib import Path

import pytest

from feedback.errors import Refused
from moderation.backends import mapping
from moderation.categories import CATEGORIES

GUARD = 'style = "codes"\n[verdicts]\nsafe = 0.0\nunsafe = 1.0\n[categories]\nhate = ["S1"]\n'


@pytest.mark.parametrize("name", mapping.shipped())
def test_a_shipped_mapping_says_of_every_category_what_means_it_or_that_nothing_does(
    name: str,
) -> None:
    read = mapping.read(name)
    assert set(read.categories) == set(CATEGORIES)
    assert set(read.limits) == set(read.scored)
    assert 0 < len(read.scored) < len(CATEGORIES)


def test_the_four_families_of_guards_are_there() -> None:
    families = ("llama-guard", "qwen3guard", "shieldgemma", "granite-guardian")
    assert all(any(name.startswith(family) for name in mapping.shipped()) for family in families)


def test_anybody_s_own_file_is_taken_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GUARD + "[thresholds]\nhate = 0.7\n")
    read = mapping.read(str(path))
    assert (read.scored, read.limits) == (("hate",), {"hate": 0.7})


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (None, "one of granite-guardian"),
        ("style = ", "no TOML"),
        (GUARD.replace("hate", "hat"), "no moderation category"),
        (GUARD.replace("0.0", "1.0"), "one word that is 0.0"),
        (GUARD.replace("codes", "questions"), "no question asks for S1"),
        (GUARD + "[thresholds]\nsexual = 0.5\n", "what no label means"),
        (GUARD + "[thresholds]\nhate = 1.5\n", "0 < x <= 1"),
        ("colour = 1\n" + GUARD, "colour"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused_with_the_cure(
    tmp_path: Path, text: str | None, cure: str
) -> None:
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Refused, match=cure):
        mapping.read(str(path))
