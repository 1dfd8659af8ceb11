"""What one field of a request may hold. Each check raises BadRequest naming the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from feedback.errors import BadRequest

Check = Callable[[str, Any], Any]  # field name, value -> value

_MAX_MESSAGES = 512
_MAX_TOOLS = 128
_MAX_SCHEMA_BYTES = 64_000
_ROLES = ("system", "developer", "user", "assistant", "tool")


def number(low: float, high: float) -> Check:
    def check(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadRequest(f"{name} is a number", param=name)
        if not low <= value <= high:
            raise BadRequest(f"{name} is between {low} and {high}, not {value}", param=name)
        return value

    return check


def integer(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON has one kind of number: 4.0 is an integer there
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadRequest(f"{name} is a whole number", param=name)
        if not low <= value <= high:
            raise BadRequest(f"{name} is between {low} and {high}, not {value}", param=name)
        return value

    return check


def text(max_chars: int) -> Check:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= max_chars:
            raise BadRequest(f"{name} is a text of 1 to {max_chars} characters", param=name)
        return value

    return check


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false", param=name)
    return value


def prompt(name: str, value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not value:
        # Token ids would pass moderation unread; several prompts would be several candidate sets.
        raise BadRequest("prompt is one text; send several prompts as several requests", param=name)
    return value


def messages(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_MESSAGES:
        raise BadRequest(f"messages is a list of 1 to {_MAX_MESSAGES} messages", param=name)
    return [_message(f"messages[{i}]", message) for i, message in enumerate(value)]


def _message(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("role") not in _ROLES:
        raise BadRequest(f"{name} has a role: {', '.join(_ROLES)}", param=f"{name}.role")
    for field, item in value.items():
        if field in ("role", "content"):
            continue
        if field not in _MESSAGE_FIELDS:
            raise BadRequest(f"unknown field '{name}.{field}'", param=f"{name}.{field}")
        if item is not None:
            _MESSAGE_FIELDS[field](f"{name}.{field}", item)
    content = value.get("content")
    is_text = isinstance(content, str) or (
        isinstance(content, list) and content and all(map(_is_text_part, content))
    )
    if not is_text and not (content is None and value.get("tool_calls")):
        raise BadRequest(
            f"{name}.content is a text, or a list of parts of type 'text'", param=f"{name}.content"
        )
    return {key: item for key, item in value.items() if item is not None}


def _is_text_part(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def stop(name: str, value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or len(words) > 4
        or not all(isinstance(word, str) and 1 <= len(word) <= 256 for word in words)
    ):
        raise BadRequest("stop is up to 4 texts of 1 to 256 characters", param=name)
    return words


def token_ids(name: str, value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) > 64:
        raise BadRequest(f"{name} is a list of up to 64 token ids", param=name)
    check = integer(0, 10**6)
    return [check(name, token) for token in value]


def logit_bias(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > 300:
        raise BadRequest("logit_bias is an object of up to 300 token ids", param=name)
    check = number(-100, 100)
    return {str(token): check(name, bias) for token, bias in value.items()}


def metadata(name: str, value: Any) -> dict[str, str]:
    if (
        not isinstance(value, dict)
        or len(value) > 16
        or not all(isinstance(k, str) and len(k) <= 64 for k in value)
        or not all(isinstance(v, str) and len(v) <= 512 for v in value.values())
    ):
        raise BadRequest(
            "metadata is up to 16 pairs of texts: keys of 64, values of 512 characters", param=name
        )
    return value


def stream_options(name: str, value: Any) -> dict[str, bool]:
    if not isinstance(value, dict) or value.keys() - {"include_usage", "include_obfuscation"}:
        raise BadRequest("stream_options knows include_usage", param=name)
    return {key: flag(f"{name}.{key}", item) for key, item in value.items() if item is not None}


def moderation(name: str, value: Any) -> dict[str, Any]:
    """OpenAI's: {"model", "policy": {"input": {"mode"}, "output": {"mode"}}}."""
    if not isinstance(value, dict) or value.keys() - {"model", "policy"}:
        raise BadRequest(f"{name} is an object with a model, and a policy", param=name)
    asked = value.get("policy") or {}
    if not isinstance(asked, dict) or asked.keys() - {"input", "output"}:
        raise BadRequest(f"{name}.policy knows input and output", param=f"{name}.policy")
    modes = {}
    for side, wanted in asked.items():
        if wanted is None:
            continue
        if not isinstance(wanted, dict) or wanted.get("mode") not in ("score", "block"):
            at = f"{name}.policy.{side}"
            raise BadRequest(f"{at} has a mode, 'score' or 'block'", param=at)
        modes[side] = wanted["mode"]
    return {"model": text(128)(f"{name}.model", value.get("model")), **modes}


def response_format(name: str, value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or not value["type"]:
        raise BadRequest(f"{name} is an object with a type, such as json_schema", param=name)
    return _small(name, value)


def tool_choice(name: str, value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise BadRequest(f"{name} is 'none', 'auto', 'required' or one of the tools", param=name)
    return _small(name, value)


def tools(name: str, value: Any) -> Any:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_TOOLS:
        raise BadRequest(f"{name} is a list of 1 to {_MAX_TOOLS} functions", param=name)
    for i, tool in enumerate(value):
        function = _function(f"{name}[{i}]", tool)
        if not isinstance(function.get("parameters", {}), dict):
            at = f"{name}[{i}].function.parameters"
            raise BadRequest(f"{at} is a JSON schema", param=at)
    return _small(name, value)


def _tool_calls(name: str, value: Any) -> Any:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_TOOLS:
        raise BadRequest(f"{name} is a list of 1 to {_MAX_TOOLS} calls", param=name)
    for i, call in enumerate(value):
        function = _function(f"{name}[{i}]", call)
        if not isinstance(call.get("id"), str) or not isinstance(function.get("arguments"), str):
            at = f"{name}[{i}]"
            raise BadRequest(f"{at} has an id, and arguments as text", param=at)
    return value


def _function(name: str, value: Any) -> dict[str, Any]:
    """The function of a tool, or of a call to one."""
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or value.get("type") != "function":
        raise BadRequest(f"{name} has a type, 'function', and a function", param=name)
    text(256)(f"{name}.function.name", function.get("name"))
    return function


def _small(name: str, value: Any) -> Any:
    if len(orjson.dumps(value)) > _MAX_SCHEMA_BYTES:
        raise BadRequest(f"{name} is JSON of at most {_MAX_SCHEMA_BYTES} bytes", param=name)
    return value


def _any_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} is a text", param=name)
    return value


_MESSAGE_FIELDS: dict[str, Check] = {
    "name": text(256),
    "tool_calls": _tool_calls,
    "tool_call_id": text(256),
    "refusal": _any_text,
}
