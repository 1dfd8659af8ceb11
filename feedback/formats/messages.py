"""Conversations as other tools write them, as lists of {"role", "content"}."""

from __future__ import annotations

from typing import Any

from feedback.formats.said import Bad

Messages = list[dict[str, str]]

_ROLES = {"developer": "system"} | {r: r for r in ("system", "user", "assistant", "tool")}


def messages_of(value: Any, *, role: str = "user") -> Messages:
    """A conversation; a text is one message. Raises Bad."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise Bad("a conversation is a text, or a list of messages")
    return [_message(message) for message in value]


def answer_of(value: Any) -> str:
    """One answer: a text, or one message of the assistant. Raises Bad."""
    found = messages_of(value, role="assistant")
    if len(found) != 1 or found[0]["role"] != "assistant":
        raise Bad("an answer is a text, or one message of the assistant")
    return found[0]["content"]


def split_off_answer(messages: Messages) -> tuple[Messages, str]:
    """A conversation without its last message, and that. Raises Bad."""
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise Bad("a conversation ends with the answer, a message of the assistant")
    return messages[:-1], messages[-1]["content"]


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Bad("a message is an object with `role` and `content`")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise Bad(f"{role!r} is no role; there are {', '.join(_ROLES)}")
    if message.get("tool_calls") or message.get("function_call"):
        raise Bad("a message calls tools; only text is imported")
    return {"role": _ROLES[role], "content": _content(message.get("content"))}


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content] if _is_parts(content) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise Bad("a message's `content` is a text, or parts of text")
    return "".join(map(str, texts))


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) for part in content)
