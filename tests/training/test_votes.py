from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import pytest
import redis

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.events import new_id
from feedback.history import History
from feedback.labeling.labelers import Labeler
from serving.registry import BASE, PolicyRecord, Registry
from tests.feedback.snapshots import log
from training import votes
from training.votes import Vote

SERVED = PolicyRecord(
    version="policy-0001", kind="adapter", path="/p/1", digest="ours", created=0.001
)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        registry = Registry(opened)
        registry.ensure_base("/base", "theirs")
        registry.add(SERVED)
        for name, status in (("anna", "active"), ("held", "active"), ("new", "trial")):
            person = Labeler(
                id=name,
                name=name,
                tenant="t",
                status=status,  # type: ignore[arg-type]
                is_heldout=name == "held",
                created=0.0,
            )
            opened.hset(keys.LABELERS, name, orjson.dumps(asdict(person)))
        for number, (version, digest) in {1: ("policy-0001", "ours"), 2: (BASE, "theirs")}.items():
            answered = log.completion(number, version=version, version_last=version, digest=digest)
            eventlog.append(opened, answered)
        yield opened


def says(client: redis.Redis, who: str, *tiers: list[str], **changes: Any) -> str:
    """`a` and `b` are the candidate's answers, `c` is the incumbent's."""
    refs = [{"completion_id": f"chatcmpl-{n}", "index": i} for n, i in ((1, 0), (1, 1), (2, 0))]
    body = {"candidates": refs, "tiers": list(tiers)}
    ids = {"completion_ids": ["chatcmpl-1", "chatcmpl-2"], "id": new_id("fbk_")}
    event = log.feedback(
        "ranking", body, number=1, labeler=who, source="labeler", **(ids | changes)
    )
    eventlog.append(client, event)
    return event.id


def found(client: redis.Redis, digest: str = "ours") -> list[Vote]:
    return votes.read(client, History(client), digest=digest, incumbent=BASE)


def test_who_met_the_same_weights_before_votes_and_each_person_counts_once(
    client: redis.Redis,
) -> None:
    for _ in range(3):
        says(client, "anna", ["a"], ["b"], ["c"])
    says(client, "held", ["a"], ["c"], ["b"])
    says(client, "new", ["c"], ["a", "b"])  # not screened yet
    cast = found(client)
    assert [vote.share for vote in cast] == [1.0, 1.0, 1.0, 0.5]
    rate = votes.win_rate(cast)
    assert rate is not None
    assert (rate.value, rate.num_units) == (0.75, 2)


def test_the_last_word_counts_and_what_is_taken_back_does_not(client: redis.Redis) -> None:
    first = says(client, "anna", ["a"], ["b"], ["c"])
    second = says(client, "anna", ["c"], ["a"], ["b"], replaces=first)
    assert [(vote.judgement, vote.share) for vote in found(client)] == [(second, 0.0)]
    taken_back = log.feedback(
        "retraction", {"of": second}, number=1, labeler="anna", id=new_id("fbk_")
    )
    eventlog.append(client, taken_back)
    assert found(client) == []


def test_of_weights_that_never_served_nobody_has_said_anything(client: redis.Redis) -> None:
    says(client, "anna", ["a"], ["b"], ["c"])
    assert found(client, digest="new") == []
    assert votes.win_rate([]) is None
