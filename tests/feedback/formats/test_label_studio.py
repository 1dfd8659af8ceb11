from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback.errors import Unprocessable
from tests.feedback.formats.taking import jsonl, judged, preferred, take


def annotated(*results: Any, **more: Any) -> dict[str, Any]:
    by = {"completed_by": 7, "lead_time": 4.2, "created_at": "2026-03-09T22:16:08.728353Z"}
    return {"id": 1, "result": list(results), "was_cancelled": False, **by, **more}


def ranker(value: Any) -> dict[str, Any]:
    return {"from_name": "rank", "to_name": "results", "type": "ranker", "value": {"ranker": value}}


ITEMS = [
    {"id": f"llm_{number}", "title": f"model {number}", "body": f"text {number}"}
    for number in (1, 2, 3)
]
TASK = {"id": 11, "data": {"prompt": "Explain.", "items": ITEMS}}


@pytest.mark.parametrize(
    "value", [{"rank": ["llm_2", "llm_3", "llm_1"]}, ["llm_2", "llm_3", "llm_1"]]
)
@pytest.mark.parametrize("format", ["auto", "label-studio"])
def test_label_studio_s_ranker_is_read(
    client: redis.Redis, tmp_path: Path, value: Any, format: Any
) -> None:
    tasks = [
        {**TASK, "annotations": [annotated(ranker(value)), annotated(was_cancelled=True)]},
        {**TASK, "annotations": []},
    ]
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(tasks, indent=2))
    report, _ = take(client, path, format=format)
    assert report.left_out == {"skipped_in_label_studio": 1, "not_annotated": 1}
    completion, event = judged(client)
    assert [choice.text for choice in completion.choices] == ["text 1", "text 2", "text 3"]
    assert event.body["tiers"] == [["b"], ["c"], ["a"]]
    assert (event.labeler, event.body["duration_ms"]) == ("label-studio:7", 4200)
    assert int(event.created) == 1773094568


def test_label_studio_s_buckets_need_an_order(client: redis.Redis, tmp_path: Path) -> None:
    value = {"_": [], "biased": ["llm_3"], "relevant": ["llm_2", "llm_1"]}
    path = jsonl(tmp_path / "a.jsonl", [{**TASK, "annotations": [annotated(ranker(value))]}])
    with pytest.raises(Unprocessable):
        take(client, path)
    take(client, path, buckets=("relevant", "biased"))
    _, event = judged(client)
    assert event.body["tiers"] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("data", "to_name"),
    [
        ({"prompt": "q", "answer1": "left text", "answer2": "right text"}, "one,two"),
        ({"text": "q", "txt-1": "left text", "txt-2": "right text"}, "txt-1,txt-2"),
    ],
)
def test_label_studio_s_pairwise_is_read(
    client: redis.Redis, tmp_path: Path, data: dict[str, str], to_name: str
) -> None:
    result = {"type": "pairwise", "to_name": to_name, "value": {"selected": "right"}}
    path = jsonl(tmp_path / "a.jsonl", [{"data": data, "annotations": [annotated(result)]}])
    take(client, path)
    assert preferred(client) == ("right text", "left text")
