from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedback.errors import HoneError
from serving.canary.state import NOT_GATED
from serving.cli import app
from serving.registry import Registry
from tests.serving.canary.versions import NEW, publish
from tests.serving.conftest import Running


@pytest.fixture
def folder(gateway: Running, tmp_path: Path) -> Path:
    ready = {"url": gateway.url, "admin_key": gateway.admin_secret}
    (tmp_path / "ready.json").write_text(json.dumps(ready))
    return tmp_path


def hone(folder: Path, *arguments: str) -> str:
    command = ["policies", *arguments, "--data", str(folder)]
    return CliRunner().invoke(app, command, catch_exceptions=False).stdout


def test_a_canary_from_its_beginning_to_its_end(gateway: Running, folder: Path) -> None:
    assert "no canary yet" in hone(folder, "canary")
    publish(gateway)
    begun = hone(folder, "canary", NEW, "--share", "0.2", "--reason", "looks good")
    assert "policy-0001 answers 20% beside policy-0000, running" in begun
    assert "each speaks at 100" in begun
    shown: Any = json.loads(hone(folder, "canary", "--json"))
    assert (shown["running"]["share"], shown["running"]["reason"]) == (0.2, "looks good")
    assert "held" in hone(folder, "canary", "--hold")
    assert "policy-0000 answers everybody" in hone(folder, "rollback", "--yes", "--reason", "odd")
    assert "policy-0001 was aborted: odd" in hone(folder, "canary")


def test_a_version_without_a_passed_gate_needs_an_override(gateway: Running, folder: Path) -> None:
    record = publish(gateway, round_id=None)
    with pytest.raises(HoneError, match="--override REASON") as refused:
        hone(folder, "promote", NEW, "--yes")
    assert refused.value.error_code == NOT_GATED  # with which `hone` ends with 3
    with pytest.raises(HoneError, match="has the digest"):
        hone(folder, "promote", NEW, "--yes", "--digest", "0123456789ab")
    pinned = ["--digest", record.digest[:12], "--override", "urgent"]
    assert "answers now" in hone(folder, "promote", NEW, "--yes", *pinned)
    assert Registry(gateway.redis).aliases()["production"] == NEW


def test_aborting_says_how_it_ended(gateway: Running, folder: Path) -> None:
    publish(gateway)
    hone(folder, "canary", NEW)
    assert "was aborted: seen enough" in hone(
        folder, "canary", "--abort", "--reason", "seen enough"
    )
