from __future__ import annotations

from typing import Any

import pytest

from training.schedule import decide

QUIET: dict[str, Any] = {
    "active": None,
    "is_paused": False,
    "request": None,
    "new_judgements": 0,
    "last_started": 0.0,
    "now": 1000.0,
    "min_new_judgements": 64,
    "schedule_s": 0,
    "new_corrections": 0,
    "min_new_corrections": 100,
    "canary": None,
}


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        ({}, False),
        ({"new_judgements": 63}, False),
        ({"new_judgements": 64}, True),
        ({"new_judgements": 64, "is_paused": True}, False),
        ({"new_judgements": 64, "active": "round-0001"}, False),
        ({"request": b'{"recipe": "tiny"}'}, True),
        ({"request": b'{"recipe": "tiny"}', "active": "round-0001"}, False),
        ({"schedule_s": 100, "new_judgements": 1, "last_started": 900.0}, True),
        ({"schedule_s": 100, "new_judgements": 1, "last_started": 901.0}, False),
        ({"schedule_s": 100, "new_judgements": 0}, False),
        ({"new_corrections": 99}, False),
        ({"new_corrections": 100}, True),
        ({"new_corrections": 100, "is_paused": True}, False),
    ],
)
def test_a_round_starts_when_asked_when_enough_is_new_or_on_schedule(
    changes: dict[str, Any], starts: bool
) -> None:
    assert decide(**(QUIET | changes)).start is starts


def test_a_request_may_name_a_recipe() -> None:
    assert decide(**(QUIET | {"request": b'{"recipe": "tiny"}'})).recipe == "tiny"


def test_a_round_that_was_asked_for_says_why() -> None:
    asked = b'{"reason": "new guidelines"}'
    assert decide(**(QUIET | {"request": asked})).reason == "requested: new guidelines"
    assert decide(**(QUIET | {"request": b"{}"})).reason == "requested"


def test_corrections_start_a_round_of_moderation_and_judgements_come_first() -> None:
    many = {"new_corrections": 100}
    assert decide(**(QUIET | many)).kind == "moderation"
    assert decide(**(QUIET | many | {"new_judgements": 64})).kind == "policy"
    assert decide(**(QUIET | {"request": b'{"kind": "moderation"}'})).kind == "moderation"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"new_judgements": 64}, None),
        ({"schedule_s": 100, "new_judgements": 64}, None),
        ({"request": b"{}"}, "policy"),
        ({"new_corrections": 100, "new_judgements": 64}, "moderation"),
    ],
)
def test_while_a_canary_is_undecided_only_a_person_begins_a_round_of_the_policy(
    changes: dict[str, Any], kind: str | None
) -> None:
    found = decide(**(QUIET | changes | {"canary": "policy-0007"}))
    assert (found.kind if found.start else None) == kind
    assert ("policy-0007 is a canary" in found.reason) == (kind == "policy")
