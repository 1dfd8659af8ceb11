from __future__ import annotations

from typing import Any

import pytest

from feedback.snapshots.pii import Masker
from feedback.snapshots.rows import Writer, question_of

MAIL = "ann@example.com"


def prompt(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "prompt_ids": [1, 2], "messages": list(messages), **fields}


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


@pytest.fixture
def writer() -> Writer:
    return Writer(Masker())


def test_personal_data_anywhere_in_a_conversation_takes_its_ids_away(writer: Writer) -> None:
    system = {"role": "system", "content": f"Write to {MAIL}."}
    row = writer.prompt(prompt(system, user("hello")))
    assert row == {
        "prompt_ids": None,
        "prompt_text": "hello",
        "masked": ["EMAIL_ADDRESS"],
        "messages": [{"role": "system", "content": "Write to <EMAIL_ADDRESS>."}, user("hello")],
    }


def test_a_prompt_of_the_text_endpoint_is_masked_as_text(writer: Writer) -> None:
    row = writer.prompt({"id": "cmpl-1", "prompt_ids": [1], "prompt": f"Dear {MAIL},"})
    assert row is not None
    assert (row["prompt_ids"], row["prompt"]) == (None, "Dear <EMAIL_ADDRESS>,")


def test_parts_of_a_message_are_read_as_its_text(writer: Writer) -> None:
    parts = [
        {"type": "text", "text": "hello"},
        {"type": "text", "text": MAIL},
        {"type": "text", "text": None},
    ]
    row = writer.prompt(prompt(user(parts)))
    assert row is not None
    assert row["messages"] == [user("hello <EMAIL_ADDRESS> ")]


@pytest.mark.parametrize(
    "asked",
    [
        prompt(user(MAIL, name="ann")),
        prompt(user(MAIL), has_tools=True),
        prompt(user([{"type": "image_url", "image_url": {}}, {"type": "text", "text": MAIL}])),
        prompt(user(MAIL), {"role": "assistant", "content": None, "tool_calls": []}),
    ],
)
def test_what_a_template_would_write_in_another_way_is_dropped(
    writer: Writer, asked: dict[str, Any]
) -> None:
    assert writer.prompt(asked) is None


def test_it_stays_as_it_is_where_nothing_has_to_be_masked(writer: Writer) -> None:
    asked = prompt(user("hello"), {"role": "assistant", "content": None}, has_tools=True)
    row = writer.prompt(asked)
    assert row == {"prompt_ids": [1, 2], "prompt_text": ""}


def test_a_message_without_content_is_an_empty_one(writer: Writer) -> None:
    row = writer.prompt(prompt(user(MAIL), {"role": "assistant", "content": None}))
    assert row is not None
    assert row["messages"][1] == {"role": "assistant", "content": ""}


def test_nothing_is_looked_for_where_masking_is_off() -> None:
    row = Writer(None).prompt(prompt(user(MAIL)))
    assert row is not None
    assert row["prompt_ids"] == [1, 2]


def test_the_question_is_the_last_message() -> None:
    assert question_of(prompt(user("first"), user("last"))) == "last"
    assert question_of({"prompt": "once upon"}) == "once upon"
