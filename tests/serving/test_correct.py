"""From a person's word on a text to a file that the moderation classifier is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from feedback.errors import HoneError
from moderation import dataset
from serving import auth
from serving.cli import app
from tests.serving.conftest import Running


def test_what_moderation_should_have_said_becomes_its_training_data(
    gateway: Running, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    operator, _ = auth.create_key(gateway.redis, name="local admin", scopes=auth.SCOPES)
    ready = {"url": gateway.url, "admin_key": operator}
    (tmp_path / "ready.json").write_text(json.dumps(ready))
    hone, data = CliRunner(), ["--data", str(tmp_path)]
    body = {"model": "policy", "messages": [{"role": "user", "content": "how to kill a process"}]}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    asked = httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers).json()

    correct = ["label", "correct", *data]
    assert (
        "is in the log" in hone.invoke(app, [*correct, asked["id"], "--is-not", "violence"]).stdout
    )
    text = ["--text", "a refused prompt", "--is", "hate", "--is-not", "sexual"]
    assert json.loads(hone.invoke(app, [*correct, *text, "--json"]).stdout)["form"] == "correction"
    wrong = hone.invoke(app, [*correct, asked["id"], "--is", "rudeness"])
    assert isinstance(wrong.exception, HoneError)
    assert "labels.rudeness" in wrong.exception.message

    out = tmp_path / "texts.jsonl"
    shown = hone.invoke(app, ["snapshot", "moderation", "--out", str(out), *data])
    assert "2 texts" in shown.stdout
    assert {row.text: row.labels for row in dataset.read(out)} == {
        "how to kill a process": {"violence": 0},
        "a refused prompt": {"hate": 1, "sexual": 0},
    }
