from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.events import Audit, Moderated, RoundChanged
from serving.webhooks.events import events_of
from tests.serving.webhook_receiver import round_ended

PUBLISHED = {
    "version": "policy-0003",
    "digest": "d" * 64,
    "parent": "policy-0002",
    "promoted": 1.0,
    "load_ms": {"http://10.0.0.7:8100": 12.0},
}


def audit(action: str, **detail: Any) -> Audit:
    return Audit(id="aud_1", created=5.5, actor="key_op", action=action, detail=detail)


def types_of(record: Audit | RoundChanged) -> list[str]:
    return [event.type for event in events_of(record)]


@pytest.mark.parametrize(
    ("record", "types"),
    [
        (audit("promote", version="policy-0001"), ["policy.promoted"]),
        (audit("rollback", version="policy-0000"), ["policy.rolled_back"]),
        (audit("keys.create", id="key_1"), []),
        (round_ended("started", reason="schedule"), []),
        (round_ended("step_done", step="ppo"), []),
        (round_ended("finished", **PUBLISHED), ["policy.promoted", "round.finished"]),
        (round_ended("refused", failed_checks=["kl"]), ["gate.failed", "round.finished"]),
        (round_ended("failed", step="ppo", error="boom"), ["round.finished"]),
        (round_ended("cancelled"), ["round.finished"]),
    ],
)
def test_what_a_record_of_the_log_amounts_to(
    record: Audit | RoundChanged, types: list[str]
) -> None:
    assert types_of(record) == types


def test_nothing_is_told_of_what_people_ask() -> None:
    asked = Moderated(id="m", created=1.0, key_id="k", stage="prompt", scores={}, blocked=[])
    assert events_of(asked) == []


def test_the_body_is_an_event_as_the_api_shows_one() -> None:
    (event,) = events_of(audit("promote", version="policy-0001"))
    assert json.loads(event.body()) == {
        "id": event.id,
        "object": "event",
        "type": "policy.promoted",
        "created_at": 5,
        "data": {"version": "policy-0001", "actor": "key_op", "round_id": None},
    }
    assert event.id.startswith("evt_")


def test_a_record_read_twice_is_one_event_and_each_type_has_its_own_id() -> None:
    record = round_ended("finished", **PUBLISHED)
    first, second = events_of(record), events_of(record)
    assert [event.id for event in first] == [event.id for event in second]
    assert len({event.id for event in first}) == 2


def test_a_round_that_is_retried_and_ends_again_is_told_again() -> None:
    (failed,) = events_of(round_ended("failed", step="ppo", error="boom"))
    ended = events_of(round_ended("finished", **PUBLISHED))[-1]
    assert (failed.type, ended.type) == ("round.finished", "round.finished")
    assert failed.id != ended.id


def test_a_round_of_moderation_promotes_no_policy() -> None:
    published = {"kind": "moderation", "version": "moderation-0001", "digest": "d"}
    (event,) = events_of(round_ended("finished", **published))
    assert event.type == "round.finished"
    assert (event.data["kind"], event.data["version"]) == ("moderation", "moderation-0001")


def test_engines_and_log_lines_stay_in_the_house() -> None:
    for record in (
        round_ended("finished", **PUBLISHED),
        round_ended("failed", step="ppo", error="redis://:password@10.0.0.7"),
    ):
        for event in events_of(record):
            assert "10.0.0.7" not in event.body()
            assert event.data["round_id"] == "round-0007"


def test_a_refusal_names_the_checks_that_failed() -> None:
    gate, ended = events_of(round_ended("refused", failed_checks=["kl", "win_rate"]))
    assert gate.data["failed_checks"] == ["kl", "win_rate"]
    assert ended.data["status"] == "refused"
