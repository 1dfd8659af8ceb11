from __future__ import annotations

from moderation.composites import SOURCE, composites
from moderation.dataset import Row
from moderation.inferred import completed

HARM = [Row(text=f"bad thing {i}", source="a", labels={"hate": 1, "violence": 0}) for i in range(5)]
CALM = [
    Row(text=f"calm{i} " * 40, source="litbank", labels={"violence": 0, "hate": 0})
    for i in range(5)
]


def test_a_composite_is_harmful_where_a_part_is_and_unknown_where_a_part_is() -> None:
    made = composites([*HARM, *CALM], num=60)
    assert {row.source for row in made} == {SOURCE}
    assert composites([*HARM, *CALM], num=60) == made
    for row in made:
        assert row.labels == {"hate": int("bad thing" in row.text), "violence": 0}


def test_without_harmful_or_calm_texts_there_is_nothing_to_compose() -> None:
    assert composites(HARM, num=5) == composites(CALM, num=5) == []


def test_a_known_label_is_never_changed() -> None:
    row = Row(text="they fight", source="x", labels={"violence": 1, "harassment": 1, "hate": 0})
    assert completed(row).labels.items() >= row.labels.items()


def test_what_follows_from_a_label_or_from_harmless_words_is_filled_in() -> None:
    threat = Row(text="kill them", source="x", labels={"hate": 1, "hate/threatening": 1})
    assert completed(threat).labels["violence"] == 1
    calm = Row(text="The weather is fine", source="x", labels={"sexual": 0})
    assert completed(calm).labels["violence"] == completed(calm).labels["harassment"] == 0
    rude = Row(text="what an idiot", source="x", labels={"sexual": 0})
    assert "harassment" not in completed(rude).labels
