from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.feedback.formats.taking import jsonl, judged, preferred, take

HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: A joke?\n\nAssistant: Knock knock.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: A joke?\n\nAssistant: No.",
}


@pytest.mark.parametrize("format", ["auto", "hh-rlhf"])
def test_hh_rlhf_is_read_gzipped(client: redis.Redis, tmp_path: Path, format: Any) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HH).encode() + b"\n"))
    take(client, path, format=format)
    completion, _ = judged(client)
    assert preferred(client) == ("Knock knock.", "No.")
    assert [turn["role"] for turn in completion.request["messages"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert completion.request["messages"][-1]["content"] == "A joke?"


def test_hh_transcripts_that_part_earlier_are_bad(client: redis.Redis, tmp_path: Path) -> None:
    early = {**HH, "rejected": HH["rejected"].replace("Hello!", "Hey.")}
    _, bad = take(client, jsonl(tmp_path / "a.jsonl", [early]), skip_bad=True)
    assert "different prompts" in bad[0][1]
