"""The fields of a request for completions: which are known, what they may hold, where they go.

A field that is not listed is refused by name: vLLM has many more, some of which (`chat_template`,
`prompt_logprobs`, `kv_transfer_params`) must not be reachable from outside, and a misspelt one that
is silently dropped costs its sender a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from feedback.errors import BadRequest
from moderation.policy import Stage
from serving import field_checks as checks
from serving.field_checks import Check

MAX_CHOICES = 9  # K of the paper's rankings
_SESSION_CHARS = 512
_MAX_CHARS_PER_TOKEN = 16  # longer texts cannot fit the model; refused before moderation reads them


@dataclass(frozen=True, kw_only=True)
class AskedModeration:
    """`moderation` of a chat completion: show the scores, and block what is flagged where it says so."""

    model: str
    blocks: frozenset[Stage]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A valid request, taken apart."""

    model: str
    request: dict[str, Any]  # what the log keeps: messages or prompt, and sampling parameters
    upstream: dict[str, Any]  # what the engine gets, before `model` and what we ask for ourselves
    texts: list[str]  # what moderation reads
    is_stream: bool
    wants_usage: bool  # stream_options.include_usage
    wants_logprobs: bool
    num_choices: int
    store: bool | None  # None: as the key says
    end_user: str | None
    cache_key: (
        str | None
    )  # `prompt_cache_key`: requests of one key have their prompts' beginning in common
    metadata: dict[str, str]
    moderation: AskedModeration | None = None
    prompt_of: str | None = None  # the completion whose prompt is sampled anew

    @property
    def session(self) -> bytes:
        """What this request has in common with others whose prompts begin alike."""
        if self.cache_key is not None:
            return self.cache_key.encode()
        beginning = self.texts[0][:_SESSION_CHARS] if self.texts else ""
        return f"{self.end_user}:{beginning}".encode()


def parse_chat(body: bytes, *, max_tokens: int) -> Asked:
    """A body of POST /v1/chat/completions. Raises BadRequest naming the field."""
    fields = _checked(body, {**_SHARED, **_CHAT}, required=("messages",), max_tokens=max_tokens)
    texts = [
        text
        for message in fields["messages"]
        if message["role"] != "assistant" and (text := _message_text(message))
    ]
    asks_logprobs = fields.get("logprobs", False)
    if "top_logprobs" in fields and not asks_logprobs:
        raise BadRequest("top_logprobs needs 'logprobs': true", param="top_logprobs")
    ours = {"logprobs": True, "top_logprobs": fields.get("top_logprobs", 0)}
    _refuse_endless("messages", texts, max_tokens=max_tokens)
    return _asked(fields, texts=texts, wants_logprobs=asks_logprobs, ours=ours)


def parse_text(body: bytes, *, max_tokens: int) -> Asked:
    """A body of POST /v1/completions. Raises BadRequest naming the field."""
    fields = _checked(body, {**_SHARED, **_TEXT}, required=("prompt",), max_tokens=max_tokens)
    ours = {"logprobs": fields.get("logprobs", 0)}
    _refuse_endless("prompt", [fields["prompt"]], max_tokens=max_tokens)
    return _asked(fields, texts=[fields["prompt"]], wants_logprobs="logprobs" in fields, ours=ours)


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises BadRequest."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"send a JSON object; the body is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise BadRequest("send a JSON object; the body is another JSON value")
    return parsed


def _checked(
    body: bytes, table: Mapping[str, Check], *, required: tuple[str, ...], max_tokens: int
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in json_object(body).items():
        check = table.get(name)
        if check is None:
            raise BadRequest(f"unknown field '{name}'", param=name, code="unknown_field")
        if value is not None:
            fields[name] = check(name, value)
    for name in ("model", *required):
        if name not in fields:
            raise BadRequest(f"'{name}' is missing", param=name, code="missing_field")
    for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
        if fields.get(name, 0) > max_tokens:
            raise BadRequest(f"{name} is at most {max_tokens} here", param=name)
    return fields


def _asked(
    fields: dict[str, Any], *, texts: list[str], wants_logprobs: bool, ours: dict[str, Any]
) -> Asked:
    kept = {name: value for name, value in fields.items() if name not in _NOT_FORWARDED}
    is_stream = fields.get("stream", False)
    options = fields.get("stream_options", {})
    if options and not is_stream:
        raise BadRequest("stream_options needs 'stream': true", param="stream_options")
    upstream = {**kept, **ours, "return_token_ids": True, "stream": is_stream}
    if is_stream:
        upstream["stream_options"] = {"include_usage": True}
    return Asked(
        model=fields["model"],
        request=kept,
        upstream=upstream,
        texts=texts,
        is_stream=is_stream,
        wants_usage=options.get("include_usage", False),
        wants_logprobs=wants_logprobs,
        num_choices=fields.get("n", 1),
        store=fields.get("store"),
        end_user=fields.get("safety_identifier") or fields.get("user"),
        cache_key=fields.get("prompt_cache_key"),
        metadata=fields.get("metadata", {}),
        moderation=_moderation(fields.get("moderation")),
    )


def _moderation(fields: Mapping[str, str] | None) -> AskedModeration | None:
    if fields is None:
        return None
    sides: dict[Stage, str] = {"prompt": "input", "completion": "output"}
    blocks = frozenset(stage for stage, side in sides.items() if fields.get(side) == "block")
    return AskedModeration(model=fields["model"], blocks=blocks)


def _refuse_endless(name: str, texts: list[str], *, max_tokens: int) -> None:
    if sum(map(len, texts)) > max_tokens * _MAX_CHARS_PER_TOKEN:
        raise BadRequest(
            f"this text is far longer than the {max_tokens} tokens this model reads; shorten it",
            param=name,
            code="context_length_exceeded",
        )


def _message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return content or ""


_NOT_FORWARDED = {
    *("model", "stream", "stream_options", "store", "metadata", "logprobs", "top_logprobs"),
    *("user", "safety_identifier", "prompt_cache_key", "moderation"),
}

_SHARED: dict[str, Check] = {
    "model": checks.text(128),
    "frequency_penalty": checks.number(-2, 2),
    "presence_penalty": checks.number(-2, 2),
    "repetition_penalty": checks.number(0.01, 2),
    "logit_bias": checks.logit_bias,
    "max_tokens": checks.integer(1, 10**6),
    "min_tokens": checks.integer(0, 10**6),
    "n": checks.integer(1, MAX_CHOICES),
    "seed": checks.integer(-(2**63), 2**63 - 1),
    "stop": checks.stop,
    "stream": checks.flag,
    "stream_options": checks.stream_options,
    "temperature": checks.number(0, 2),
    "top_p": checks.number(0, 1),
    "top_k": checks.integer(-1, 10**6),
    "min_p": checks.number(0, 1),
    "ignore_eos": checks.flag,
    "stop_token_ids": checks.token_ids,
    "user": checks.text(256),
    "safety_identifier": checks.text(256),
    "prompt_cache_key": checks.text(256),
    "store": checks.flag,
    "metadata": checks.metadata,
    "response_format": checks.response_format,
}

_CHAT: dict[str, Check] = {
    "messages": checks.messages,
    "max_completion_tokens": checks.integer(1, 10**6),
    "moderation": checks.moderation,
    "logprobs": checks.flag,
    "top_logprobs": checks.integer(0, 20),
    "tools": checks.tools,
    "tool_choice": checks.tool_choice,
    "parallel_tool_calls": checks.flag,
}

_TEXT: dict[str, Check] = {
    "prompt": checks.prompt,
    "logprobs": checks.integer(0, 5),
}
