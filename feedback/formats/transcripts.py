"""Anthropic's HH-RLHF: two transcripts that part at the last answer, `Human:` and `Assistant:` in turn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feedback.formats.messages import Messages, split_off_answer
from feedback.formats.plain import preference
from feedback.formats.said import Bad, Passed, Said

_TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def parse(record: Mapping[str, Any]) -> Iterator[Said | Passed]:
    """The comparison that a record is. Raises Bad."""
    chosen, rejected = record.get("chosen"), record.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise Bad("a record has transcripts `chosen` and `rejected`")
    prompt, better = split_off_answer(messages_of(chosen))
    other, worse = split_off_answer(messages_of(rejected))
    if prompt != other:
        raise Bad("chosen and rejected part before the last answer: different prompts")
    yield preference(prompt, better, worse)


def is_one(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like it."""
    chosen = record.get("chosen")
    return isinstance(chosen, str) and chosen.startswith("\n\nHuman:") and "prompt" not in record


def messages_of(transcript: str) -> Messages:
    """The turns of a transcript. Raises Bad."""
    parts = _TURN.split(transcript)
    if parts[0].strip() or len(parts) < 3:
        raise Bad("a transcript begins with '\\n\\nHuman:'")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _ROLES[speaker], "content": text.strip()} for speaker, text in pairs]
