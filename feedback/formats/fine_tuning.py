"""OpenAI's fine-tuning files: messages for SFT; input, preferred_output, non_preferred_output for DPO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from feedback.formats.messages import answer_of, messages_of, split_off_answer
from feedback.formats.plain import preference
from feedback.formats.said import Bad, Passed, Said

_DPO = ("input", "preferred_output", "non_preferred_output")


def parse(record: Mapping[str, Any]) -> Iterator[Said | Passed]:
    """The demonstration or comparison that a record is. Raises Bad."""
    if "messages" in record:
        prompt, answer = split_off_answer(messages_of(record["messages"]))
        if record["messages"][-1].get("weight") == 0:
            raise Bad("the last answer has weight 0: there is nothing to learn from")
        yield Said(form="demonstration", prompt=prompt, answers=[answer], body={})
        return
    if missing := [name for name in _DPO if name not in record]:
        raise Bad(f"a record has `messages`, or {', '.join(_DPO)}; missing: {', '.join(missing)}")
    asked = record["input"]
    if not isinstance(asked, dict):
        raise Bad("`input` is an object with `messages`")
    prompt = messages_of(asked.get("messages"))
    yield preference(prompt, *(answer_of(record[name]) for name in _DPO[1:]))


def is_one(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like it."""
    return "preferred_output" in record
