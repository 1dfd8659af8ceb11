"""`hone label …` against a real Redis."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedback.connection import connect, connect_async
from feedback.errors import HoneError, NotFound
from feedback.labeling.labelers import Labeler, Labelers
from serving.cli import app
from tests.serving.conftest import Running


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_SERVING_PUBLIC_URL", "https://hone.example/")
    return CliRunner()


def said(hone: CliRunner, *words: str) -> str:
    result = hone.invoke(app, ["label", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(hone: CliRunner) -> Any:
    return json.loads(said(hone, "list", "--json"))


async def join(redis_url: str, link: str, name: str) -> Labeler:
    token = link.strip().rsplit("/", 1)[1]
    async with connect_async(redis_url) as client:
        return await Labelers(client).join(token, name=name, password="correct horse battery")


def test_who_is_invited_joins_and_is_accepted_or_blocked(hone: CliRunner, redis_url: str) -> None:
    link = said(hone, "invite", "--heldout")
    assert re.fullmatch(r"https://hone\.example/label/join/[\w-]{30,}\n", link)
    ann = asyncio.run(join(redis_url, link, "Ann"))
    (shown,) = listed(hone)
    assert (shown["id"], shown["status"], shown["is_heldout"]) == (ann.id, "screening", True)
    assert "password" not in shown
    assert "Ann" in said(hone, "list")
    for command, status in (("accept", "active"), ("block", "blocked"), ("rescreen", "screening")):
        said(hone, command, ann.id)
        assert listed(hone)[0]["status"] == status
    with pytest.raises(NotFound):
        said(hone, "accept", "lab_nobody")


def test_no_invitation_is_made_where_nobody_knows_the_address(
    hone: CliRunner, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HONE_SERVING_PUBLIC_URL")
    with pytest.raises(NotFound, match="--url"):
        said(hone, "invite", "--data", str(tmp_path))
    with connect(redis_url) as client:
        assert client.dbsize() == 0


def test_a_known_answer_is_stated_listed_and_removed(hone: CliRunner, gateway: Running) -> None:
    answer = gateway.openai().chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "hi"}], n=4
    )
    said(hone, "known", "add", answer.id, "--tiers", "2 0,3 1")
    (known,) = json.loads(said(hone, "known", "list", "--json"))
    assert (known["completion_id"], known["tiers"]) == (answer.id, [[2], [0, 3], [1]])
    for wrong in ("2 0", "2 0 1 3 4", "best first"):
        with pytest.raises(HoneError):
            said(hone, "known", "add", answer.id, "--tiers", wrong)
    said(hone, "known", "remove", answer.id)
    assert json.loads(said(hone, "known", "list", "--json")) == []
    with pytest.raises(NotFound):
        said(hone, "known", "remove", answer.id)


def test_guidelines_are_shown_set_from_a_file_and_reset(
    hone: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "ours.md"
    text.write_text("# Ours\n\nBe kind.")
    assert "Helpful" in said(hone, "guidelines")
    said(hone, "guidelines", "--set", str(text))
    assert said(hone, "guidelines") == "# Ours\n\nBe kind.\n"
    assert "Helpful" in said(hone, "guidelines", "--tenant", "another")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/kind/patient/")
    said(hone, "guidelines", "--edit")
    assert "Be patient." in said(hone, "guidelines")
    said(hone, "guidelines", "--reset")
    assert "Helpful" in said(hone, "guidelines")
    text.write_text(" ")
    with pytest.raises(HoneError, match="--reset"):
        said(hone, "guidelines", "--set", str(text))
