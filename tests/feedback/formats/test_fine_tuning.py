from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.feedback.formats.taking import jsonl, log_of, preferred, take


@pytest.mark.parametrize("format", ["auto", "openai"])
def test_openai_s_files_are_read(client: redis.Redis, tmp_path: Path, format: Any) -> None:
    dpo = {
        "input": {
            "messages": [{"role": "user", "content": "How cold is it?"}],
            "tools": [],
            "parallel_tool_calls": True,
        },
        "preferred_output": [{"role": "assistant", "content": "Seven degrees."}],
        "non_preferred_output": [{"role": "assistant", "content": "Cold."}],
    }
    take(client, jsonl(tmp_path / "dpo.jsonl", [dpo]), format=format)
    assert preferred(client) == ("Seven degrees.", "Cold.")
    client.flushall()
    sft = {
        "messages": [
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hi."},
        ]
    }
    take(client, jsonl(tmp_path / "sft.jsonl", [sft]), format=format)
    (event,) = log_of(client)[1]
    assert event.form == "demonstration"
    (parent,) = log_of(client)[0]
    assert event.body["completion"] == "Hi."
    assert (event.body["parent"], parent.choices) == (parent.id, [])
    assert [turn["role"] for turn in parent.request["messages"]] == ["system", "user"]


def test_openai_s_tool_calls_and_weightless_answers_are_bad(
    client: redis.Redis, tmp_path: Path
) -> None:
    user = {"role": "user", "content": "hi"}
    calls = {"role": "assistant", "tool_calls": [{"id": "1"}]}
    rows = [
        {"messages": [user, calls]},
        {"messages": [user, {"role": "assistant", "content": "x", "weight": 0}]},
        {"input": {}},
    ]
    report, bad = take(client, jsonl(tmp_path / "a.jsonl", rows), format="openai", skip_bad=True)
    assert report.bad == 3
    assert ["calls tools" in bad[0][1], "weight 0" in bad[1][1], "missing" in bad[2][1]] == [
        True
    ] * 3
