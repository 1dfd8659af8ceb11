from __future__ import annotations

from moderation import synthetic
from moderation.categories import FITTED


def test_the_templates_fill_every_slot_and_give_the_same_texts_again() -> None:
    rows = synthetic.texts()
    assert rows == synthetic.texts() != synthetic.texts(seed=1)
    assert not [row.text for row in rows if "{" in row.text]
    assert len({row.text for row in rows}) == len(rows) > 3000


def test_nothing_of_ours_is_sexual() -> None:
    assert {row.labels["sexual"] for row in synthetic.texts()} == {0}


def test_harmful_kinds_and_harmless_ones_are_both_there() -> None:
    rows = synthetic.texts()
    for name in set(FITTED) - {"sexual"}:
        assert sum(row.labels.get(name) == 1 for row in rows) > 100
    assert sum(1 not in row.labels.values() for row in rows) > 1000
