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
        versions.roll_back()
    versions.add(FIRST)
    assert versions.promote(FIRST.version) == FIRST
    assert versions.live().wanted == FIRST
    assert versions.live().previous == ON_BOARD


def test_a_roll_back_and_another_one_lead_back_and_forth(versions: Versions) -> None:
    for record in (FIRST, SECOND):
        versions.add(record)
        versions.promote(record.version)
        versions.promote(record.version)  # again is harmless
    assert versions.roll_back() == FIRST
    assert versions.live().previous == SECOND.version
    assert versions.roll_back() == SECOND


def test_a_name_stands_for_one_set_of_weights(versions: Versions) -> None:
    versions.add(FIRST)
    versions.add(FIRST)
    with pytest.raises(Conflict, match="other weights"):
        versions.add(replace(FIRST, digest="else"))
    with pytest.raises(NotFound, match="hone moderation versions"):
        versions.promote("moderation-0009")
    assert versions.live().production == ON_BOARD


def test_numbers_are_never_given_out_twice(versions: Versions) -> None:
    assert [versions.next() for _ in range(2)] == ["moderation-0001", "moderation-0002"]


def test_an_undo_restores_both_aliases_unless_somebody_else_promoted(versions: Versions) -> None:
    for record in (FIRST, SECOND):
        versions.add(record)
    versions.promote(FIRST.version)
    before = versions.live()
    versions.promote(SECOND.version)
    versions.undo(SECOND.version, before=before)
    assert versions.live() == before
    versions.undo(SECOND.version, before=replace(before, production=ON_BOARD))
    assert versions.live() == before
