"""`hone label stats` against a real Redis."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.labeling.labelers import Labeler
from serving.cli import app
from tests.feedback.quality.test_judged import completion, ranking


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "160")
    client = connect(redis_url)
    for id, name in (("lab_anna", "Anna"), ("lab_bert", "Bert")):
        record = Labeler(
            id=id, name=name, tenant="t", status="active", is_heldout=False, created=0.0
        )
        client.hset(keys.LABELERS, id, orjson.dumps(asdict(record)))
    eventlog.append(client, completion(1, metadata={"task": "summarise"}))
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    eventlog.append(client, ranking("fbk_2", "a", "c", "b", labeler="lab_bert"))
    return CliRunner()


def test_stats_say_how_far_labelers_agree_and_what_each_weighs(hone: CliRunner) -> None:
    shown = hone.invoke(app, ["label", "stats"])
    assert shown.exit_code == 0, shown.output
    assert "2 judgements on 1 sets, 1 of them by two or more" in shown.stdout
    assert "labelers: agree on 66.7%" in shown.stdout
    assert "task summarise: agree on 66.7%" in shown.stdout
    anna = next(line for line in shown.stdout.splitlines() if "Anna" in line)
    assert "active" in anna


def test_stats_for_machines_hold_the_same(hone: CliRunner, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shown = hone.invoke(app, ["label", "stats", "--json", "--plots", str(tmp_path / "plots")])
    found = json.loads(shown.stdout)
    assert found["training"]["decided"]["value"] == pytest.approx(2 / 3)
    assert [person["name"] for person in found["people"]] == ["Anna", "Bert"]
    assert all(0 < person["trust"]["weight"] <= 1 for person in found["people"])
    assert [Path(path).name for path in found["plots"]] == ["agreement.png", "trust.png"]


def test_stats_of_an_empty_log_are_no_error(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    shown = CliRunner().invoke(app, ["label", "stats"])
    assert shown.exit_code == 0, shown.output
    assert "0 judgements on 0 sets" in shown.stdout
