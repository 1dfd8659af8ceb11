"""`hone status`, `hone engines`, `hone audit` and the pause of `hone rounds`, against a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedback import keys
from serving.bench import invented_rounds
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from training.cli import app


@pytest.fixture
def hone(gateway: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Finds the gateway as that of a `hone up` on this folder."""
    stack = {"url": gateway.url, "admin_key": gateway.admin_secret, "redis_url": "redis://nowhere"}
    (tmp_path / "ready.json").write_text(json.dumps(stack))
    connection = gateway.redis.connection_pool.connection_kwargs
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", f"redis://127.0.0.1:{connection['port']}/0")
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    return CliRunner()


def run(hone: CliRunner, *words: str) -> str:
    done = hone.invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_status_says_what_serves_learns_and_waits(
    gateway: Running, hone: CliRunner, tmp_path: Path
) -> None:
    made = invented_rounds.write(gateway.redis, tmp_path, num_versions=3)
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    told = run(hone, "status")
    assert f"production   {made.versions[-1]}" in told
    assert f"learning     {made.active}" in told
    assert "0 to rank" in told
    assert json.loads(run(hone, "status", "--json"))["object"] == "overview"


def test_engines_are_listed_with_what_they_have(
    gateway: Running, hone: CliRunner, engine: FakeEngine
) -> None:
    gateway.run(gateway.app.state.gateway.vitals.look())
    told = run(hone, "engines")
    assert f"{engine.url}  up  kv-cache 37%" in told
    assert "policy-0000" in told
    assert json.loads(run(hone, "engines", "--json"))[0]["reachable"] is True


def test_a_pause_on_the_command_line_is_in_the_audit_log(gateway: Running, hone: CliRunner) -> None:
    run(hone, "rounds", "pause", "--reason", "odd labels")
    assert b"odd labels" in (gateway.redis.get(keys.LEARNING_PAUSED) or b"")
    run(hone, "rounds", "resume")
    told = run(hone, "audit").splitlines()
    assert [line.split()[3] for line in told] == ["learning.resume", "learning.pause"]
    assert "odd labels" in told[1]
    page = json.loads(run(hone, "audit", "--limit", "1", "--json"))
    older = run(hone, "audit", "--before", page["data"][0]["entry"])
    assert "learning.pause" in older
    assert "learning.resume" not in older


def test_a_round_is_shown_with_every_check_of_its_gate(
    gateway: Running, hone: CliRunner, tmp_path: Path
) -> None:
    made = invented_rounds.write(gateway.redis, tmp_path, num_versions=6)
    told = run(hone, "rounds", "show", made.refused, "--data", str(tmp_path)).splitlines()
    (line,) = (line for line in told if " win_rate " in line)
    assert line.startswith("failed ")
    assert line.endswith("gate/answers.jsonl")
    assert sum("gate/answers.jsonl" in line for line in told) == 7
