"""Request bodies for the OpenAPI page. What holds is in serving.request_fields and field_checks.

A field that is null counts as not given, as the OpenAI client sends it.
"""

from __future__ import annotations

from typing import Any

from serving.request_fields import MAX_CHOICES

Schema = dict[str, Any]


def _or_null(schema: Schema) -> Schema:
    if "type" in schema and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _integer(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _text(max_chars: int, **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": max_chars, **more}


def _object(properties: dict[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    """No other fields."""
    shape: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": list(required)} if required else shape


_ANY_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_METADATA: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 512},
    "propertyNames": {"maxLength": 64},
    "maxProperties": 16,
}
_FUNCTION_CALL: Schema = {
    "type": "object",
    "properties": {
        "id": _ANY_TEXT,
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {"name": _text(256), "arguments": _ANY_TEXT},
            "required": ["name", "arguments"],
        },
    },
    "required": ["id", "type", "function"],
}
_PART: Schema = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": _ANY_TEXT},
    "required": ["type", "text"],
}
_CONTENT: Schema = {"anyOf": [_ANY_TEXT, {"type": "array", "items": _PART, "minItems": 1}]}
_CALLS: Schema = {"type": "array", "items": _FUNCTION_CALL, "minItems": 1, "maxItems": 128}
_MESSAGE_FIELDS: dict[str, Schema] = {
    "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
    "content": _CONTENT,
    "name": _or_null(_text(256)),
    "tool_calls": _or_null(_CALLS),
    "tool_call_id": _or_null(_text(256)),
    "refusal": _or_null(_ANY_TEXT),
}
_MESSAGE: Schema = {
    "anyOf": [
        _object(_MESSAGE_FIELDS, required=("role", "content")),
        _object(
            {**_MESSAGE_FIELDS, "content": _or_null(_CONTENT), "tool_calls": _CALLS},
            required=("role", "tool_calls"),
        ),
    ]
}
_TOOL: Schema = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {"name": _text(256), "parameters": {"type": "object"}},
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}
_OPTIONAL: dict[str, Schema] = {
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "repetition_penalty": _number(0.01, 2),
    "logit_bias": {
        "type": "object",
        "additionalProperties": _number(-100, 100),
        "maxProperties": 300,
    },
    "max_tokens": _integer(1, 10**6),
    "min_tokens": _integer(0, 10**6),
    "n": _integer(1, MAX_CHOICES),
    "seed": _integer(-(2**63), 2**63 - 1),
    "stop": {"anyOf": [_text(256), {"type": "array", "items": _text(256), "maxItems": 4}]},
    "stream": _FLAG,
    "stream_options": _object(
        {"include_usage": _or_null(_FLAG), "include_obfuscation": _or_null(_FLAG)}
    ),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _integer(-1, 10**6),
    "min_p": _number(0, 1),
    "ignore_eos": _FLAG,
    "stop_token_ids": {"type": "array", "items": _integer(0, 10**6), "maxItems": 64},
    "user": _text(256),
    "safety_identifier": {**_text(256), "description": "The end user; `user` is its older name."},
    "prompt_cache_key": {
        **_text(256),
        "description": "Requests with the same one go to the same engine, which may know the prompt.",
    },
    "store": {
        **_FLAG,
        "description": "Whether the exchange is kept and may train the model; default: as the key.",
    },
    "metadata": _METADATA,
    "response_format": {
        "type": "object",
        "properties": {"type": _text(64, examples=["json_schema"])},
        "required": ["type"],
    },
}
_MODE: Schema = _object({"mode": {"enum": ["score", "block"]}}, required=("mode",))
_MODERATION: Schema = _object(
    {
        "model": _text(128, examples=["omni-moderation-latest"]),
        "policy": _or_null(_object({"input": _or_null(_MODE), "output": _or_null(_MODE)})),
    },
    required=("model",),
)
_CHAT: dict[str, Schema] = {
    "max_completion_tokens": _integer(1, 10**6),
    "moderation": _MODERATION,
    "logprobs": _FLAG,
    "top_logprobs": {**_integer(0, 20), "description": "Needs `logprobs: true`."},
    "tools": {"type": "array", "items": _TOOL, "minItems": 1, "maxItems": 128},
    "tool_choice": {"anyOf": [_ANY_TEXT, {"type": "object"}]},
    "parallel_tool_calls": _FLAG,
}


def _body(schema: Schema) -> Schema:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _asking(required: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    fields = {"model": _text(128, examples=["policy"]), **required}
    nullable = {name: _or_null(schema) for name, schema in optional.items()}
    return _body(_object({**fields, **nullable}, required=tuple(fields)))


CHAT_SCHEMA = _asking(
    {
        "messages": {
            "type": "array",
            "items": _MESSAGE,
            "minItems": 1,
            "maxItems": 512,
            "examples": [[{"role": "user", "content": "Hello!"}]],
        }
    },
    {**_OPTIONAL, **_CHAT},
)
TEXT_SCHEMA = _asking(
    {
        "prompt": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": 1,
                },
            ]
        }
    },
    {**_OPTIONAL, "logprobs": _integer(0, 5)},
)
CANDIDATES_SCHEMA = _body(
    _object(
        {
            "n": _or_null({**_integer(2, MAX_CHOICES), "default": 4}),
            "model": _or_null(_text(128, default="policy")),
            "max_tokens": _or_null(_OPTIONAL["max_tokens"]),
            "temperature": _or_null({**_number(0, 2), "default": 1.0}),
            "top_p": _or_null(_OPTIONAL["top_p"]),
            "seed": _or_null(_OPTIONAL["seed"]),
            "metadata": _or_null(_METADATA),
        }
    )
)
MODERATION_SCHEMA = _body(
    _object(
        {
            "input": {
                "anyOf": [
                    _ANY_TEXT,
                    {"type": "array", "items": _ANY_TEXT, "minItems": 1},
                    {"type": "array", "items": _PART, "minItems": 1},
                ]
            },
            "model": _or_null(_ANY_TEXT),
        },
        required=("input",),
    )
)
UPDATE_SCHEMA = _body(_object({"metadata": _or_null(_METADATA)}, required=("metadata",)))
