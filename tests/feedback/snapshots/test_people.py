from __future__ import annotations

import dataclasses

import orjson

from feedback import keys
from feedback.connection import connect
from feedback.labeling.labelers import Labeler
from feedback.snapshots.people import People, Standing, read
from tests.feedback.snapshots.log import ranking


def test_labelers_and_known_answers_are_read_as_they_are_written(redis_url: str) -> None:
    labelers = [
        Labeler(
            id=f"lab_{status}",
            name=status,
            tenant="default",
            status=status,  # type: ignore[arg-type]
            is_heldout=status == "active",
            created=1.0,
        )
        for status in ("screening", "active", "blocked", "failed")
    ]
    with connect(redis_url) as client:
        for each in labelers:
            client.hset(keys.LABELERS, each.id, orjson.dumps(dataclasses.asdict(each)))
        client.hset(keys.KNOWN_ANSWERS, "chatcmpl-1", b"{}")
        people = read(client, weights={"lab_active": 0.5})
    active = {name for name, standing in people.labelers.items() if standing.is_active}
    assert active == {"lab_active"}
    assert people.labelers["lab_active"].is_heldout
    assert people.known_answers == {"chatcmpl-1"}


def test_whom_an_api_key_names_counts_fully_unless_a_weight_is_given() -> None:
    people = People(weights={"bert": 0.5, "lab_1": 0.25}, labelers={"lab_1": Standing()})
    assert people.weight(ranking(1)) == 1.0
    assert people.weight(ranking(1, labeler="bert")) == 0.5
    assert people.weight(ranking(1, labeler="lab_1", source="labeler")) == 0.25
    assert people.weight(ranking(1, labeler="lab_2", source="labeler")) == 0.0
    assert people.weight(ranking(1, labeler="usr_1", source="end_user")) == 1.0


def test_a_heldout_labeler_measures_whatever_they_weigh_unless_they_are_blocked() -> None:
    heldout = Standing(is_heldout=True)
    people = People(labelers={"lab_1": heldout}, weights={"lab_1": 0.0})
    event = ranking(1, labeler="lab_1", source="labeler")
    assert (people.weight(event), people.is_heldout(event)) == (1.0, True)
    blocked = People(labelers={"lab_1": dataclasses.replace(heldout, is_active=False)})
    assert blocked.weight(event) == 0.0
    assert not people.is_heldout(ranking(1, labeler="lab_1"))  # a key may name anybody
