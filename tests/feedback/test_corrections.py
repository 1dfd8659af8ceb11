from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from feedback.corrections import Category, Correction
from feedback.errors import NotFound, Unprocessable
from feedback.journal import Journal
from feedback.judgements import Rating
from moderation.categories import CATEGORIES
from tests.feedback.test_intake import CALLER, LABELER, an_answer, an_intake


def test_its_categories_are_those_of_moderation() -> None:
    assert set(get_args(Category)) == set(CATEGORIES)


@pytest.mark.parametrize(
    "body",
    [
        {"completion_id": "chatcmpl-1", "labels": {}},
        {"completion_id": "chatcmpl-1", "labels": {"rudeness": True}},
        {"completion_id": "chatcmpl-1", "labels": {"hate": 1}},
        {"completion_id": "chatcmpl-1", "text": "both", "labels": {"hate": True}},
        {"text": "no answer", "index": 0, "labels": {"hate": True}},
        {"labels": {"hate": True}},
    ],
)
def test_a_correction_without_one_text_and_a_label_cannot_be_written_down(
    body: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        Correction.model_validate(body)


async def test_an_answer_that_was_withheld_is_corrected_though_nobody_may_rate_it(
    journal: Journal,
) -> None:
    intake, completion = an_intake(journal), an_answer()
    withheld = [replace(choice, blocked=True) for choice in completion.choices]
    await journal.append(replace(completion, choices=withheld))
    about = {"completion_id": completion.id, "index": 0}
    with pytest.raises(Unprocessable, match="withheld"):
        await intake.accept(Rating.model_validate({**about, "likert": 5}), LABELER)
    said = Correction.model_validate({**about, "labels": {"violence": False}})
    receipt = await intake.accept(said, LABELER)
    assert receipt.event.form == "correction"
    assert receipt.event.completion_ids == [completion.id]
    assert receipt.event.body["labels"] == {"violence": False}


async def test_every_word_on_a_text_stays_and_replaces_none(journal: Journal) -> None:
    intake = an_intake(journal)
    for label in (True, False):
        said = Correction.model_validate({"text": "you", "labels": {"harassment": label}})
        receipt = await intake.accept(said, LABELER)
        assert receipt.event.replaces is None
    stranger = replace(CALLER, key_id="key_2")
    await journal.append(completion := an_answer())
    of_prompt = {"completion_id": completion.id, "labels": {"hate": True}}
    with pytest.raises(NotFound):
        await intake.accept(Correction.model_validate(of_prompt), stranger)
