"""Request bodies for the OpenAPI page. What holds is in serving.request_fields."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_SHARED: dict[str, Any] = {
    "model": {**_TEXT, "example": "policy"},
    "n": {"type": "integer", "minimum": 1, "maximum": 9},
    "max_tokens": _COUNT,
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "seed": {"type": "integer"},
    "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}]},
    "stream": {"type": "boolean"},
    "stream_options": {"type": "object"},
    "user": _TEXT,
    "store": {
        "type": "boolean",
        "description": "Whether the exchange is kept and may train the model; default: as the key.",
    },
    "metadata": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 16},
}
_MESSAGE = {
    "type": "object",
    "properties": {"role": {**_TEXT, "example": "user"}, "content": {**_TEXT, "example": "Hello!"}},
    "required": ["role", "content"],
}


def _body(properties: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


CHAT_SCHEMA = _body(
    {"messages": {"type": "array", "items": _MESSAGE, "minItems": 1}, **_SHARED},
    required=["model", "messages"],
)
TEXT_SCHEMA = _body({"prompt": _TEXT, **_SHARED}, required=["model", "prompt"])
MODERATION_SCHEMA = _body(
    {"input": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]}, "model": _TEXT},
    required=["input"],
)
