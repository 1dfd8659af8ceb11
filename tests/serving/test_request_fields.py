from __future__ import annotations

from typing import Any

import orjson
import pytest

from feedback.errors import BadRequest
from serving.request_fields import Asked, parse_chat, parse_text

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> Asked:
    body = {"model": "policy", "messages": [USER], **fields}
    return parse_chat(orjson.dumps(body), max_tokens=1024)


def text(**fields: Any) -> Asked:
    return parse_text(orjson.dumps({"model": "policy", "prompt": "hi", **fields}), max_tokens=1024)


def test_the_engine_gets_what_was_asked_and_what_the_log_needs() -> None:
    asked = chat(temperature=0.5, n=4, user="ann", store=False, metadata={"a": "b"})
    assert asked.upstream == {
        "messages": [USER],
        "temperature": 0.5,
        "n": 4,
        "logprobs": True,
        "top_logprobs": 0,
        "return_token_ids": True,
        "stream": False,
    }
    assert asked.request == {"messages": [USER], "temperature": 0.5, "n": 4}
    assert (asked.store, asked.end_user, asked.metadata) == (False, "ann", {"a": "b"})
    assert asked.num_choices == 4


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert repr(chat(n=2.0, top_k=5.0).request["n"]) == "2"


def test_null_is_not_given() -> None:
    assert chat(temperature=None, stop=None, store=None).request == {"messages": [USER]}


def test_moderation_asked_for_stays_here() -> None:
    asked = chat(
        moderation={"model": "omni-moderation-latest", "policy": {"output": {"mode": "block"}}}
    )
    assert asked.moderation is not None
    assert asked.moderation.blocks == {"completion"}
    assert "moderation" not in {**asked.upstream, **asked.request}
    assert chat(moderation={"model": "m", "policy": None}).moderation is not None
    assert chat().moderation is None


def test_moderation_reads_all_but_what_the_model_said() -> None:
    messages = [
        {"role": "system", "content": "be kind"},
        USER,
        {"role": "assistant", "content": "hello"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "2"}],
        },
        {"role": "tool", "content": "result", "tool_call_id": "t"},
    ]
    assert chat(messages=messages).texts == ["be kind", "hi", "one\n2", "result"]
    assert text(prompt=["only one"]).texts == ["only one"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"chat_template": "x"}, "chat_template"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"return_token_ids": True}, "return_token_ids"),
        ({"cache_salt": "x"}, "cache_salt"),
        ({"n": 10}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1025}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"tools": []}, "tools"),
        ({"response_format": {"type": "json_schema", "x": "y" * 70_000}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format"),
        ({"tool_choice": ["f"]}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
            "tools[0].function.parameters",
        ),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{**USER, "weight": 1}]}, "messages[0].weight"),
        ({"messages": [{**USER, "name": 7}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].tool_calls"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]},
            "messages[0].tool_calls[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": "x" * 20_000}]}, "messages"),
        ({"model": None}, "model"),
        ({"user": ""}, "user"),
    ],
)
def test_a_field_out_of_bounds_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("prompt", [[1, 2, 3], ["a", "b"], "", 7, [[1, 2]]])
def test_a_prompt_is_one_text(prompt: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        text(prompt=prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_chat(body, max_tokens=1024)


def test_an_assistant_turn_that_only_calls_tools_needs_no_content() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert chat(messages=[USER, turn]).request["messages"][1]["tool_calls"] == [call]
