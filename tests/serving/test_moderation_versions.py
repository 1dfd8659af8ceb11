"""What an operator does with versions of moderation's classifier: over HTTP, and on the command line."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import NotFound
from feedback.events import Audit
from moderation.versions import ON_BOARD, ModerationRecord, Versions
from serving.cli import app
from tests.serving.conftest import Running

RECORD = ModerationRecord(
    version="moderation-0001", path="/m/1", digest="d" * 64, parent=ON_BOARD, round_id="round-0001"
)


def call(gateway: Running, method: str, path: str, *, key: str | None = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key or gateway.admin_secret}"}
    return httpx2.request(method, gateway.url + path, headers=headers, timeout=20)


def audited(url: str) -> list[tuple[str, Any]]:
    with connect(url) as client:
        events = [event for _, event in eventlog.read(client, "audit")]
    return [(one.action, one.detail) for one in events if isinstance(one, Audit)]


def test_a_version_is_promoted_shown_and_rolled_back_with_its_actor_in_the_log(
    gateway: Running, redis_url: str
) -> None:
    versions = Versions(gateway.redis)
    versions.add(RECORD)
    assert call(gateway, "POST", "/admin/moderation/moderation-0001/promote").status_code == 200
    assert versions.live().wanted == RECORD
    shown = call(gateway, "GET", "/admin/moderation").json()
    assert (shown["production"], shown["previous"]) == (RECORD.version, ON_BOARD)
    assert [one["version"] for one in shown["data"]] == [ON_BOARD, RECORD.version]
    assert "/m/1" not in json.dumps(shown)
    assert call(gateway, "POST", "/admin/moderation/rollback").json()["version"] == ON_BOARD
    changed = [one for one in audited(redis_url) if one[0].startswith("moderation.")]
    assert changed == [
        ("moderation.promote", {"version": RECORD.version}),
        ("moderation.rollback", {"version": ON_BOARD}),
    ]


def test_what_is_not_there_or_not_allowed_is_said_so(gateway: Running) -> None:
    missing = call(gateway, "POST", "/admin/moderation/moderation-0009/promote")
    assert missing.status_code == 404
    assert "hone moderation versions" in missing.json()["error"]["message"]
    assert call(gateway, "POST", "/admin/moderation/rollback").status_code == 409
    assert call(gateway, "GET", "/admin/moderation", key=gateway.secret).status_code == 403


def test_the_command_line_does_the_same(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    hone = CliRunner()
    with connect(redis_url) as client:
        Versions(client).add(RECORD)
    promote = ["moderation", "promote", RECORD.version]
    assert hone.invoke(app, promote, input="n\n").exit_code == 1
    assert "judges now" in hone.invoke(app, [*promote, "--yes"]).stdout
    listed = hone.invoke(app, ["moderation", "versions"]).stdout.splitlines()
    assert listed[0].split() == [ON_BOARD, "on", "board", "previous"]
    assert listed[1].split()[0] == RECORD.version
    assert listed[1].endswith("production")
    shown = json.loads(hone.invoke(app, ["moderation", "versions", "--json"]).stdout)
    assert shown["production"] == RECORD.version
    back = hone.invoke(app, ["moderation", "rollback", "--yes", "--json"]).stdout
    assert json.loads(back)["version"] == ON_BOARD
    assert [action for action, _ in audited(redis_url)] == [
        "moderation.promote",
        "moderation.rollback",
    ]
    failed = hone.invoke(app, ["moderation", "promote", "moderation-0009", "--yes"])
    assert isinstance(failed.exception, NotFound)
