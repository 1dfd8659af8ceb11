from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.corrections import Correction
from feedback.events import Feedback, new_id
from feedback.history import History
from feedback.judgements import Judgement, Ranking, Rating, body_of
from feedback.snapshots import moderation as snapshot
from feedback.snapshots.moderation import CORRECTIONS, FLAGS, Words
from feedback.snapshots.people import People, Standing
from moderation import dataset
from tests.feedback.conftest import a_set

LABELERS = {name: Standing() for name in ("lab_a", "lab_b", "lab_c")}
PEOPLE = People(labelers={**LABELERS, "lab_new": Standing(is_active=False)})


@pytest.mark.parametrize(
    ("corrections", "votes", "labels"),
    [
        ({}, [True, True, False], {"hate": True}),
        ({}, [True, False], {}),  # nobody knows
        ({"hate": False}, [True, True, True], {"hate": False}),
        ({"violence": True}, [True], {"violence": True, "hate": True}),
        ({}, [], {}),
    ],
)
def test_a_correction_decides_else_the_majority_and_a_tie_nothing(
    corrections: dict[str, bool], votes: list[bool], labels: dict[str, bool]
) -> None:
    flags = {str(number): {"hate": vote} for number, vote in enumerate(votes)}
    assert Words(id="", corrections=corrections, flags=flags).labels() == labels


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


def say(
    client: redis.Redis, form: type[Judgement], *, labeler: str = "key_ops", **body: Any
) -> Feedback:
    judgement = form.model_validate(body)
    event = Feedback(
        id=new_id("fbk_"),
        created=1.0,
        form=judgement.form,
        labeler=labeler,
        tenant="t",
        completion_ids=[ref.completion_id for ref in judgement.about()],
        body=body_of(judgement),
        source="labeler" if labeler.startswith("lab_") else "key",
    )
    eventlog.append(client, event)
    return event


def rows_of(client: redis.Redis, path: Path) -> dict[str, dataset.Row]:
    snapshot.write(History(client), PEOPLE, path)
    return {row.text: row for row in dataset.read(path)}


def test_flags_and_corrections_become_rows_that_the_classifier_reads(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    client, path = redis_client, tmp_path / "texts.jsonl"
    eventlog.append(client, a_set("chatcmpl-1"))
    first = {"completion_id": "chatcmpl-1", "index": 0}
    for labeler, is_on in (("lab_a", True), ("lab_b", True), ("lab_c", False), ("lab_new", False)):
        flags = {"violent_content": is_on, "hallucination": True}
        say(client, Rating, labeler=labeler, **first, flags=flags)
    refs = [{"completion_id": "chatcmpl-1", "index": index} for index in (2, 3)]
    ratings = {"b": {"flags": {"sexual_content": True}}}
    say(client, Ranking, labeler="lab_a", candidates=refs, tiers=[["a"], ["b"]], ratings=ratings)
    say(client, Correction, completion_id="chatcmpl-1", index=1, labels={"hate": True})
    say(client, Correction, completion_id="chatcmpl-1", index=1, labels={"hate": False})
    say(client, Correction, text="a refused prompt", labels={"violence": False, "illicit": False})
    report = snapshot.write(History(client), PEOPLE, path)
    rows = {row.text: row for row in dataset.read(path)}
    assert {text: (row.source, row.labels) for text, row in rows.items()} == {
        "a refused prompt": (CORRECTIONS, {"illicit": 0, "violence": 0}),
        "answer 0": (FLAGS, {"violence": 1}),
        "answer 1": (CORRECTIONS, {"hate": 0}),
        "answer 3": (FLAGS, {"sexual": 1}),
    }
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["rows"] == 4
    assert report["categories"]["violence"] == {"in": 1, "out": 1}


def test_what_was_taken_back_or_erased_and_what_visitors_flag_teaches_nothing(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    client, path = redis_client, tmp_path / "texts.jsonl"
    eventlog.append(client, a_set("chatcmpl-1"))
    about = {"completion_id": "chatcmpl-1", "index": 0}
    said = say(client, Correction, **about, labels={"hate": True})
    say(client, Rating, labeler="a visitor", **about, flags={"sexual_content": True})
    say(client, Correction, completion_id="chatcmpl-erased", labels={"hate": True})
    assert rows_of(client, path)["answer 0"].labels == {"hate": 1}
    retraction = Feedback(
        id=new_id("fbk_"),
        created=2.0,
        form="retraction",
        labeler="key_ops",
        tenant="t",
        completion_ids=said.completion_ids,
        body={"of": said.id},
    )
    eventlog.append(client, retraction)
    assert rows_of(client, path) == {}
    assert path.read_bytes() == b""


def test_a_prompt_is_corrected_by_its_last_message(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    eventlog.append(redis_client, completion := a_set("chatcmpl-1"))
    say(redis_client, Correction, completion_id="chatcmpl-1", labels={"self-harm": True})
    (row,) = rows_of(redis_client, tmp_path / "texts.jsonl").values()
    assert row.text == completion.request["messages"][-1]["content"]
