from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog, snapshot, stored
from feedback.connection import connect
from feedback.events import Choice, Completion, Feedback
from feedback.journal import Journal
from feedback.settings import FeedbackSettings


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def completion(number: int, **changes: Any) -> Completion:
    choices = [
        Choice(
            index=i,
            text=f"answer {i}",
            token_ids=[number, i],
            logprobs=[-1.0, -1.0],
            finish_reason="stop",
        )
        for i in range(3)
    ]
    event = Completion(
        id=f"chatcmpl-{number}",
        created=1.0,
        key_id="key",
        tenant="t",
        endpoint="chat",
        request={"messages": [{"role": "user", "content": f"question {number}"}]},
        prompt_ids=[1, number],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
        end_user=f"user-{number % 20}",
    )
    return dataclasses.replace(event, **changes)


def ranking(number: int, *tiers: list[str], labeler: str = "anna", id: str = "") -> Feedback:
    refs = [{"completion_id": f"chatcmpl-{number}", "index": index} for index in range(3)]
    return Feedback(
        id=id or f"fbk_{number}_{labeler}",
        created=1.0,
        form="ranking",
        labeler=labeler,
        tenant="t",
        completion_ids=[f"chatcmpl-{number}"],
        body={"candidates": refs, "tiers": list(tiers)},
    )


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def fill(client: redis.Redis, *events: Completion | Feedback) -> None:
    for event in events:
        eventlog.append(client, event)


def test_tiers_become_ranks_and_a_tie_shares_one(client: redis.Redis, tmp_path: Path) -> None:
    fill(client, completion(1), ranking(1, ["b"], ["a", "c"]))
    snapshot.write(client, tmp_path, heldout_share=0.0)
    (row,) = rows(tmp_path, "rankings")
    assert row["ranks"] == [2, 1, 2]
    assert [c["token_ids"] for c in row["completions"]] == [[1, 0], [1, 1], [1, 2]]


def test_only_the_last_judgement_of_a_labeler_on_a_set_counts(
    client: redis.Redis, tmp_path: Path
) -> None:
    first = ranking(1, ["a"], ["b"], ["c"], id="fbk_first")
    second = ranking(1, ["c"], ["b"], ["a"], id="fbk_second")
    other = ranking(1, ["b"], ["c"], ["a"], labeler="bert")
    fill(client, completion(1), first, other, second)
    manifest = snapshot.write(client, tmp_path, heldout_share=0.0)
    assert sorted(row["id"] for row in rows(tmp_path, "rankings")) == ["fbk_1_bert", "fbk_second"]
    assert manifest["skipped"] == {"changed_later": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version_last": "policy-0001"}, "mixed_versions"),
        ({"complete": False}, "answer_not_whole"),
    ],
)
def test_answers_that_must_not_train_are_left_out_with_the_reason(
    client: redis.Redis, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    fill(client, completion(1, **changes), ranking(1, ["a"], ["b"], ["c"]))
    manifest = snapshot.write(client, tmp_path, heldout_share=0.0)
    assert manifest["rankings"] == 0
    assert manifest["skipped"] == {reason: 1}


def test_a_judgement_of_an_unknown_answer_is_left_out(client: redis.Redis, tmp_path: Path) -> None:
    fill(client, ranking(1, ["a"], ["b"], ["c"]))
    # No completion at all: the bound of completions is open.
    assert snapshot.write(client, tmp_path, heldout_share=0.0)["skipped"] == {
        "completion_missing": 1
    }


async def test_a_judgement_of_an_erased_answer_is_left_out_and_the_others_stay(
    redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    demonstration = Feedback(
        id="fbk_demonstration",
        created=1.0,
        form="demonstration",
        labeler="anna",
        tenant="t",
        completion_ids=["chatcmpl-1"],
        body={"completion": "better", "parent": "chatcmpl-1"},
    )
    fill(client, completion(1), completion(2), demonstration)
    fill(client, *(ranking(number, ["a"], ["b"], ["c"]) for number in (1, 2)))
    settings = FeedbackSettings(redis_url=redis_url, outbox_path=tmp_path / "outbox.sqlite")
    journal = Journal(settings)
    await stored.erase(journal, "chatcmpl-1", tenant="t")
    manifest = snapshot.write(client, tmp_path / "one", heldout_share=0.0)
    assert [row["id"] for row in rows(tmp_path / "one", "rankings")] == ["fbk_2_anna"]
    assert [row["id"] for row in rows(tmp_path / "one", "prompts")] == ["chatcmpl-2"]
    assert rows(tmp_path / "one", "demonstrations") == []
    assert manifest["skipped"] == {"completion_missing": 1}
    await stored.erase(journal, "chatcmpl-2", tenant="t")  # now there is none at all
    await journal.close()
    manifest = snapshot.write(client, tmp_path / "two", heldout_share=0.0)
    assert manifest["skipped"] == {"completion_missing": 2}
    assert manifest["rankings"] == manifest["prompts"] == 0


def test_made_again_after_an_interruption_it_holds_the_same_events(
    client: redis.Redis, tmp_path: Path
) -> None:
    fill(client, completion(1), ranking(1, ["a"], ["b"], ["c"]))
    snapshot.write(client, tmp_path, heldout_share=0.0)
    before = (tmp_path / "rankings.jsonl").read_bytes()
    (tmp_path / "manifest.json").unlink()
    fill(client, completion(2), ranking(2, ["a"], ["b"], ["c"]))
    snapshot.write(client, tmp_path, heldout_share=0.0)
    assert (tmp_path / "rankings.jsonl").read_bytes() == before


def test_an_end_user_is_on_one_side_only(client: redis.Redis, tmp_path: Path) -> None:
    for number in range(60):
        fill(client, completion(number), ranking(number, ["a"], ["b"], ["c"]))
    snapshot.write(client, tmp_path, heldout_share=0.3)
    sides: dict[int, set[str]] = {}
    for row in rows(tmp_path, "prompts"):
        sides.setdefault(row["prompt_ids"][1] % 20, set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "heldout"} == {next(iter(side)) for side in sides.values()}


def test_the_same_prompt_is_kept_once(client: redis.Redis, tmp_path: Path) -> None:
    fill(client, completion(1), completion(1, id="chatcmpl-again"))
    snapshot.write(client, tmp_path, heldout_share=0.0)
    assert len(rows(tmp_path, "prompts")) == 1
