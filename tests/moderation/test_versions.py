from __future__ import annotations

from dataclasses import replace

import pytest

from feedback.connection import connect
from feedback.errors import Conflict, NotFound
from moderation.versions import ON_BOARD, ModerationRecord, Versions

FIRST = ModerationRecord(version="moderation-0001", path="/v/1", digest="d1", parent=ON_BOARD)
SECOND = ModerationRecord(version="moderation-0002", path="/v/2", digest="d2", parent=FIRST.version)


@pytest.fixture
def versions(redis_url: str) -> Versions:
    return Versions(connect(redis_url))


def test_what_is_on_board_serves_until_a_version_is_promoted(versions: Versions) -> None:
    assert versions.live().wanted.version == ON_BOARD
    with pytest.raises(Conflict, match="no previous"):
        versions.roll_back(by="key_op")
    versions.add(FIRST)
    assert versions.promote(FIRST.version, by="key_op") == FIRST
    assert versions.live().wanted == FIRST
    assert versions.live().previous == ON_BOARD


def test_a_roll_back_and_another_one_lead_back_and_forth(versions: Versions) -> None:
    for record in (FIRST, SECOND):
        versions.add(record)
        versions.promote(record.version, by="key_op")
        versions.promote(record.version, by="key_op")  # again is harmless
    assert versions.roll_back(by="key_op") == FIRST
    assert versions.live().previous == SECOND.version
    assert versions.roll_back(by="key_op") == SECOND


def test_a_name_stands_for_one_set_of_weights(versions: Versions) -> None:
    versions.add(FIRST)
    versions.add(FIRST)
    with pytest.raises(Conflict, match="other weights"):
        versions.add(replace(FIRST, digest="else"))
    with pytest.raises(NotFound, match="hone moderation versions"):
        versions.promote("moderation-0009", by="key_op")
    assert versions.live().production == ON_BOARD


def test_to_roll_back_what_is_not_live_any_more_changes_nothing(versions: Versions) -> None:
    for record in (FIRST, SECOND):
        versions.add(record)
        versions.promote(record.version, by="round-0001", reason="its gate passed it")
    assert versions.roll_back(by="ann", reason="odd", production=SECOND.version) == FIRST
    with pytest.raises(Conflict, match="moderation-0001 serves by now, not moderation-0002"):
        versions.roll_back(by="bob", production=SECOND.version)
    assert versions.live().production == FIRST.version
    assert [(one.version, one.by, one.reason) for one in versions.history()] == [
        (FIRST.version, "ann", "odd"),
        (SECOND.version, "round-0001", "its gate passed it"),
        (FIRST.version, "round-0001", "its gate passed it"),
    ]


def test_numbers_are_never_given_out_twice(versions: Versions) -> None:
    assert [versions.next() for _ in range(2)] == ["moderation-0001", "moderation-0002"]


def test_an_undo_restores_both_aliases_unless_somebody_else_promoted(versions: Versions) -> None:
    for record in (FIRST, SECOND):
        versions.add(record)
    versions.promote(FIRST.version, by="key_op")
    before = versions.live()
    versions.promote(SECOND.version, by="key_op")
    versions.undo(SECOND.version, before=before, by="key_op", reason="nobody serves it")
    assert versions.live() == before
    versions.undo(
        SECOND.version,
        before=replace(before, production=ON_BOARD),
        by="key_op",
        reason="nobody serves it",
    )
    assert versions.live() == before
