"""`hone export` and `hone import` against a real Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import redis
from typer.testing import CliRunner

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import Unprocessable
from feedback.events import Audit
from serving.cli import app
from tests.feedback.formats.log import fill

SKY = {"prompt": "Why is the sky blue?", "chosen": "Scattering.", "rejected": "Paint."}


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    return CliRunner()


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def test_what_was_exported_is_imported_again(
    hone: CliRunner, client: redis.Redis, tmp_path: Path
) -> None:
    fill(client)
    out = str(tmp_path / "out")
    manifest = json.loads(hone.invoke(app, ["export", out, "--json"]).stdout)
    assert sum(manifest["rows"]["rankings"].values()) == 5
    client.flushall()
    report = json.loads(hone.invoke(app, ["import", out, "--json"]).stdout)
    assert report["added"] == 10
    assert "there already: 10" in hone.invoke(app, ["import", out]).stdout
    (change,) = (cast(Audit, event) for _, event in eventlog.read(client, "audit"))
    assert (change.action, change.detail["added"]) == ("data.import", 10)


def test_bad_lines_are_told_and_nothing_is_imported_unless_they_are_to_be_skipped(
    hone: CliRunner, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(SKY) + "\n{}\n")
    refused = hone.invoke(app, ["import", str(path)])
    assert isinstance(refused.exception, Unprocessable)
    assert "a.jsonl:2: no judgement known here" in refused.stderr
    assert eventlog.last_entry(client, "feedback") is None
    taken = hone.invoke(app, ["import", str(path), "--skip-bad"])
    assert taken.exit_code == 0
    assert "bad: 1 of 2 records" in taken.stdout
    assert "added: 1" in taken.stdout


def test_a_dry_run_says_so_and_an_unknown_format_is_a_usage_error(
    hone: CliRunner, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(SKY))
    assert "dry run" in hone.invoke(app, ["import", str(path), "--dry-run"]).stdout
    assert eventlog.last_entry(client, "feedback") is None
    assert hone.invoke(app, ["import", str(path), "--format", "csv"]).exit_code == 2
