"""An engine's answer, taken apart: what the log keeps of each candidate, and what the client sees.

The two endpoints differ in where text, token ids and log-probabilities are; `Shape` knows where.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from feedback.events import Choice
from serving.request_fields import Asked, parse_chat, parse_text
from serving.screened import UNREAD, Screened

_CHOICE = ("index", "message", "delta", "text", "logprobs", "finish_reason")  # OpenAI's fields


@dataclass
class Draft:
    """One candidate, as it grows."""

    index: int
    parts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    screened: Screened = UNREAD  # as far as moderation has read it
    is_withheld: bool = False  # the client was told that it is blocked
    num_chars: int = 0
    content: list[str] = field(default_factory=list)  # chat: the part of the text that is no call
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)  # chat: by their index

    @property
    def is_blocked(self) -> bool:
        return bool(self.screened.blocked)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def choice(self) -> Choice:
        """The record of it."""
        return Choice(
            index=self.index,
            text=self.text,
            token_ids=self.token_ids,
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
            blocked=self.is_blocked,
            message=self._message() if self.tool_calls else None,
        )

    def _message(self) -> dict[str, Any]:
        calls = [call for _, call in sorted(self.tool_calls.items())]
        return {"content": "".join(self.content) or None, "tool_calls": calls}


class Shape(ABC):
    """One endpoint."""

    name: ClassVar[str]  # `endpoint` of the log
    path: ClassVar[str]
    id_prefix: ClassVar[str]
    chunk: ClassVar[str]  # `object` of a stream's chunks
    operation: ClassVar[str]  # as GenAI's semantic conventions call it

    @abstractmethod
    def parse(self, body: bytes, *, max_tokens: int) -> Asked:
        """A request's body. Raises BadRequest."""

    @abstractmethod
    def prompt_ids(self, answer: dict[str, Any]) -> list[int] | None:
        """The prompt's token ids, where an answer or a first chunk has them."""

    @abstractmethod
    def text_of(self, choice: dict[str, Any]) -> str:
        """What a choice, or a chunk of one, adds to the text."""

    @abstractmethod
    def logprobs_of(self, choice: dict[str, Any]) -> list[float]:
        """Log-probabilities of the tokens of a choice or a chunk, nats."""

    @abstractmethod
    def empty(self, choice: dict[str, Any]) -> dict[str, Any]:
        """The content fields of a withheld choice."""

    def take(self, draft: Draft, choice: dict[str, Any]) -> None:
        """Add a choice, or a chunk of one, to a draft."""
        text = self.text_of(choice)
        if text:
            draft.parts.append(text)
            draft.num_chars += len(text)
        draft.token_ids.extend(choice.get("token_ids") or ())
        draft.logprobs.extend(self.logprobs_of(choice))
        draft.finish_reason = choice.get("finish_reason") or draft.finish_reason

    def for_client(self, choice: dict[str, Any], *, wants_logprobs: bool) -> dict[str, Any]:
        """A choice without what only the log asked for, or only vLLM knows."""
        seen = {name: choice[name] for name in _CHOICE if name in choice}
        if not wants_logprobs:
            seen["logprobs"] = None
        if message := seen.get("message"):
            kept = {name: value for name, value in message.items() if value is not None}
            seen["message"] = {**dict.fromkeys(("role", "content", "refusal")), **kept}
        return seen

    def withheld(self, draft: Draft, choice: dict[str, Any]) -> dict[str, Any]:
        """What the client gets in place of a blocked choice; the categories as Azure OpenAI says them."""
        return {
            "index": draft.index,
            **self.empty(choice),
            "logprobs": None,
            "finish_reason": "content_filter",
            "content_filter_results": {name: {"filtered": True} for name in draft.screened.blocked},
        }


class Chat(Shape):
    name = "chat"
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"
    chunk = "chat.completion.chunk"
    operation = "chat"

    def parse(self, body: bytes, *, max_tokens: int) -> Asked:
        return parse_chat(body, max_tokens=max_tokens)

    def prompt_ids(self, answer: dict[str, Any]) -> list[int] | None:
        ids: list[int] | None = answer.pop("prompt_token_ids", None)
        return ids

    def text_of(self, choice: dict[str, Any]) -> str:
        message = choice.get("delta") or choice.get("message") or {}
        text = message.get("content") or ""
        if calls := message.get("tool_calls"):
            text += orjson.dumps(calls).decode()
        return text

    def take(self, draft: Draft, choice: dict[str, Any]) -> None:
        super().take(draft, choice)
        message = choice.get("delta") or choice.get("message") or {}
        if content := message.get("content"):
            draft.content.append(content)
        for position, piece in enumerate(message.get("tool_calls") or ()):
            _add(draft.tool_calls.setdefault(piece.get("index", position), {}), piece)

    def logprobs_of(self, choice: dict[str, Any]) -> list[float]:
        content = (choice.get("logprobs") or {}).get("content") or ()
        return [token["logprob"] for token in content]

    def empty(self, choice: dict[str, Any]) -> dict[str, Any]:
        if "delta" in choice:
            return {"delta": {}}
        return {"message": {"role": "assistant", "content": "", "refusal": None}}


class Text(Shape):
    name = "text"
    path = "/v1/completions"
    id_prefix = "cmpl-"
    chunk = "text_completion"
    operation = "text_completion"

    def parse(self, body: bytes, *, max_tokens: int) -> Asked:
        return parse_text(body, max_tokens=max_tokens)

    def prompt_ids(self, answer: dict[str, Any]) -> list[int] | None:
        choices: list[dict[str, Any]] = answer.get("choices") or [{}]
        return choices[0].get("prompt_token_ids")

    def text_of(self, choice: dict[str, Any]) -> str:
        return choice.get("text") or ""

    def logprobs_of(self, choice: dict[str, Any]) -> list[float]:
        return (choice.get("logprobs") or {}).get("token_logprobs") or []

    def empty(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"text": ""}


CHAT, TEXT = Chat(), Text()


def _add(call: dict[str, Any], piece: dict[str, Any]) -> None:
    """A tool call, or the next piece of a streamed one."""
    function = piece.get("function") or {}
    known = call.setdefault("function", {"name": "", "arguments": ""})
    call["id"] = piece.get("id") or call.get("id") or ""
    call["type"] = "function"
    known["name"] += function.get("name") or ""
    known["arguments"] += function.get("arguments") or ""
