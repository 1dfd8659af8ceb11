"""`hone snapshot …` against a real Redis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import NotFound, Unprocessable
from serving.cli import app
from tests.feedback.snapshots.log import completion, ranking


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    with connect(redis_url) as client:
        for number in range(30):
            eventlog.append(client, completion(number))
            eventlog.append(client, ranking(number))
    return CliRunner()


def test_a_snapshot_is_made_listed_and_shown(hone: CliRunner, tmp_path: Path) -> None:
    made = json.loads(hone.invoke(app, ["snapshot", "create", "--json"]).stdout)
    assert Path(made["folder"]).parent == tmp_path / "snapshots"
    assert made["parts"]["rankings"]["rows"] == 30
    (listed,) = json.loads(hone.invoke(app, ["snapshot", "list", "--json"]).stdout)
    assert listed == made
    name = Path(made["folder"]).name
    assert json.loads(hone.invoke(app, ["snapshot", "show", name, "--json"]).stdout) == made
    shown = hone.invoke(app, ["snapshot", "show", name]).stdout
    assert "rankings: 30 read" in shown
    assert f"{made['parts']['rankings']['heldout']} heldout" in shown
    assert "30 rankings" in hone.invoke(app, ["snapshot", "list"]).stdout


def test_a_name_that_was_used_means_the_snapshot_that_is_there(hone: CliRunner) -> None:
    create = ["snapshot", "create", "--name", "first", "--json"]
    assert hone.invoke(app, create).stdout == hone.invoke(app, create).stdout


def test_a_file_that_was_changed_is_seen(hone: CliRunner, tmp_path: Path) -> None:
    hone.invoke(app, ["snapshot", "create", "--name", "first"])
    path = tmp_path / "snapshots" / "first" / "rankings.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"answer 1", b"answer 9", 1))
    found = hone.invoke(app, ["snapshot", "show", "first"])
    assert isinstance(found.exception, Unprocessable)
    assert "rankings.jsonl" in found.exception.message


def test_a_round_s_snapshot_is_found_by_the_round(hone: CliRunner, tmp_path: Path) -> None:
    hone.invoke(app, ["snapshot", "create", "--name", "first"])
    (tmp_path / "rounds" / "round-0001").mkdir(parents=True)
    (tmp_path / "snapshots" / "first").rename(tmp_path / "rounds" / "round-0001" / "snapshot")
    assert "30 read" in hone.invoke(app, ["snapshot", "show", "round-0001"]).stdout
    assert len(json.loads(hone.invoke(app, ["snapshot", "list", "--json"]).stdout)) == 1


def test_a_name_that_there_is_not_says_where_to_look(hone: CliRunner) -> None:
    found = hone.invoke(app, ["snapshot", "show", "nothing"])
    assert isinstance(found.exception, NotFound)
    assert "hone snapshot list" in found.exception.message


@pytest.mark.parametrize("name", ["../outside", ".hidden", "a/b"])
def test_a_name_stays_in_its_folder(hone: CliRunner, name: str) -> None:
    found = hone.invoke(app, ["snapshot", "create", "--name", name])
    assert isinstance(found.exception, Unprocessable)


def test_shares_that_leave_nobody_to_train_on_are_refused(hone: CliRunner) -> None:
    shares = ["--heldout-share", "0.6", "--validation-share", "0.4"]
    assert hone.invoke(app, ["snapshot", "create", *shares]).exit_code == 2
