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


def test_a_story_is_about_the_same_people_to_its_end() -> None:
    groups = {"jews", "muslims", "lesbians", "mexicans", "refugees", "hindus", "koreans"}
    stories = [row for row in synthetic.texts() if row.source == "templates/story-about-groups"]
    named = [groups & set(row.text.lower().replace(".", "").split()) for row in stories]
    assert len(stories) > 300
    assert sum(len(found) == 1 for found in named) > 50
    assert not [found for found in named if len(found) > 1]


def test_harmful_and_harmless_stories_begin_alike() -> None:
    def beginnings(kind: str) -> set[str]:
        rows = (row for row in synthetic.texts() if row.source == f"templates/story-{kind}")
        return {row.text.lower()[:20] for row in rows}

    shared = beginnings("violence") & beginnings("peace")
    assert len(shared) > 0.3 * len(beginnings("violence"))
