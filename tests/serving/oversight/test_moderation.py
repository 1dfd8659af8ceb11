"""What an operator does with versions of moderation's classifier: over HTTP, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.errors import NotFound
from feedback.events import Audit
from moderation.versions import ON_BOARD, ModerationRecord, Versions
from serving.bench import invented_moderation
from serving.cli import app
from tests.serving.conftest import Running
from tests.serving.oversight.test_routes import ask
from tests.serving.test_admin import call

RECORD = ModerationRecord(
    version="moderation-0001", path="/m/1", digest="d" * 64, parent=ON_BOARD, round_id="round-0001"
)


def audited(url: str) -> list[tuple[str, Any]]:
    with connect(url) as client:
        events = [event for _, event in eventlog.read(client, "audit")]
    return [(one.action, one.detail) for one in events if isinstance(one, Audit)]


def test_a_version_is_promoted_shown_and_rolled_back_with_its_actor_in_the_log(
    gateway: Running, redis_url: str
) -> None:
    versions = Versions(gateway.redis)
    versions.add(RECORD)
    promoted = call(gateway, "POST", "/admin/moderation/moderation-0001/promote", {"reason": "try"})
    assert promoted.status_code == 200
    assert versions.live().wanted == RECORD
    shown = call(gateway, "GET", "/admin/moderation").json()
    assert (shown["production"], shown["previous"]) == (RECORD.version, ON_BOARD)
    assert [one["version"] for one in shown["data"]] == [RECORD.version, ON_BOARD]
    assert [(one["version"], one["reason"]) for one in shown["history"]] == [
        (RECORD.version, "try")
    ]
    assert shown["since"] == shown["history"][0]["created"]
    assert "/m/1" not in json.dumps(shown)
    assert call(gateway, "POST", "/admin/moderation/rollback").json()["version"] == ON_BOARD
    changed = [one for one in audited(redis_url) if one[0].startswith("moderation.")]
    assert changed == [
        ("moderation.promote", {"version": RECORD.version, "reason": "try"}),
        ("moderation.rollback", {"version": ON_BOARD, "reason": ""}),
    ]


def test_to_roll_back_twice_is_to_roll_back_once_where_it_says_what(gateway: Running) -> None:
    versions = Versions(gateway.redis)
    versions.add(RECORD)
    versions.promote(RECORD.version, by="round-0001")
    bad = {"production": RECORD.version, "reason": "flags tea"}
    assert call(gateway, "POST", "/admin/moderation/rollback", bad).status_code == 200
    again = call(gateway, "POST", "/admin/moderation/rollback", bad)
    assert again.status_code == 409
    assert f"{ON_BOARD} serves by now" in again.json()["error"]["message"]
    assert versions.live().production == ON_BOARD
    assert [change.by for change in versions.history()][-1] == "round-0001"


def test_what_is_not_there_or_not_allowed_is_said_so(gateway: Running) -> None:
    missing = call(gateway, "POST", "/admin/moderation/moderation-0009/promote")
    assert missing.status_code == 404
    assert "hone moderation versions" in missing.json()["error"]["message"]
    assert call(gateway, "GET", "/admin/moderation/moderation-0009").status_code == 404
    assert call(gateway, "POST", "/admin/moderation/rollback").status_code == 409
    assert ask(gateway, "/admin/moderation", "infer").status_code == 403
    assert ask(gateway, "/admin/moderation", "view").status_code == 200


def test_a_version_shows_what_its_gate_said(gateway: Running, tmp_path: Path) -> None:
    made = invented_moderation.write(gateway.redis, tmp_path, num_versions=3)
    shown = call(gateway, "GET", f"/admin/moderation/{made.versions[-1]}").json()
    assert shown["aliases"] == ["production"]
    assert shown["parent"] == made.versions[-2]
    assert shown["gate_report"]["passed"] is True
    assert {"heldout_loss_change", "area_drop"} <= {
        c["name"] for c in shown["gate_report"]["checks"]
    }
    assert shown["num_said"] > 0
    parent = call(gateway, "GET", f"/admin/moderation/{made.versions[-2]}").json()
    assert parent["children"] == [made.versions[-1]]


def test_new_corrections_are_counted_where_the_versions_are(gateway: Running) -> None:
    counted = {"count": 40, "wanted": 100}
    gateway.redis.hset(keys.CORRECTIONS_COUNTED, mapping=counted)
    shown = call(gateway, "GET", "/admin/moderation").json()
    assert (shown["new_corrections"], shown["starts_at"]) == (40, 100)


def test_the_command_line_does_the_same(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    hone = CliRunner()
    with connect(redis_url) as client:
        Versions(client).add(RECORD)
    promote = ["moderation", "promote", RECORD.version]
    assert hone.invoke(app, promote, input="n\n").exit_code == 1
    assert "judges now" in hone.invoke(app, [*promote, "--reason", "try", "--yes"]).stdout
    listed = hone.invoke(app, ["moderation", "versions"]).stdout.splitlines()
    assert listed[0].split() == [ON_BOARD, "on", "board", "previous"]
    assert listed[1].split()[0] == RECORD.version
    assert listed[1].endswith("production")
    shown = json.loads(hone.invoke(app, ["moderation", "versions", "--json"]).stdout)
    assert shown["production"] == RECORD.version
    back = hone.invoke(app, ["moderation", "rollback", "--yes", "--json"]).stdout
    assert json.loads(back)["version"] == ON_BOARD
    assert audited(redis_url) == [
        ("moderation.promote", {"version": RECORD.version, "reason": "try"}),
        ("moderation.rollback", {"version": ON_BOARD, "reason": ""}),
    ]
    failed = hone.invoke(app, ["moderation", "promote", "moderation-0009", "--yes"])
    assert isinstance(failed.exception, NotFound)
