"""`hone log …` against a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedback import keys, tail
from feedback.connection import connect
from feedback.events import encode
from feedback.outbox import Outbox
from serving.cli import app
from tests.feedback.archive.logs import archiver, completion, fill, judgement, settings


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    return CliRunner()


def test_tail_shows_the_newest_in_order_cut_and_without_control_characters(
    hone: CliRunner, redis_url: str
) -> None:
    about = completion("\x1b[2Jlong " + "x" * 500)
    with connect(redis_url) as client:
        fill(client, completion("older"), about, judgement(about))
    shown = hone.invoke(app, ["log", "tail", "-n", "2", "--no-follow"]).stdout
    first, second = shown.splitlines()
    assert about.id in first
    assert "\x1b" not in shown
    assert len(first) < 300
    assert "rating by ann" in second
    only = hone.invoke(app, ["log", "tail", "--kind", "feedback", "--no-follow", "--json"]).stdout
    record = json.loads(only)
    assert record["kind"] == "feedback"
    assert record["completion_ids"] == [about.id]
    wrong = hone.invoke(app, ["log", "tail", "--kind", "prompts"])
    assert wrong.exit_code != 0
    assert "kinds are" in str(wrong.exception)


def test_in_one_millisecond_an_answer_comes_before_what_is_said_of_it(redis_url: str) -> None:
    about = completion()
    with connect(redis_url) as client:
        # A stream numbers its own entries only, so the judgement's entry is the lower one.
        client.xadd(keys.stream("completions"), {"e": encode(about)}, id="5-1")
        client.xadd(keys.stream("feedback"), {"e": encode(judgement(about))}, id="5-0")
        shown = [event.kind for _, event in tail.newest(client, keys.KINDS, count=2)]
    assert shown == ["completions", "feedback"]


def test_tail_follows_what_comes_until_it_is_ended(redis_url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "log", "tail", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"HONE_FEEDBACK_REDIS_URL": redis_url},
        # Tests that run in the background of a shell ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    try:
        before, later = completion(), completion()
        with connect(redis_url) as client:
            fill(client, before)
            while not any(each["cmd"] == "xread" for each in client.client_list()):
                assert process.poll() is None
                time.sleep(0.05)
            fill(client, later)
        seen: list[str] = []
        while later.id not in seen:
            seen.append(json.loads(process.stdout.readline())["id"])
        assert seen in ([later.id], [before.id, later.id])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_stats_and_archive_say_what_is_where(
    hone: CliRunner, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(redis_url) as client:
        fill(client, completion(), completion(), judgement())
        archiver(client, settings(redis_url, tmp_path)).run()
        fill(client, completion())
    with closing(Outbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.put(completion())
    where = ["--data", str(tmp_path)]
    said = json.loads(hone.invoke(app, ["log", "stats", "--json", *where]).stdout)
    completions = said["kinds"][0]
    counts = ("events_in_redis", "events_in_archive", "segments")
    assert [completions[name] for name in counts] == [1, 2, 1]
    assert completions["oldest"] < completions["oldest_in_redis"] <= completions["newest"]
    assert list(said["outboxes"].values()) == [1]
    shown = hone.invoke(app, ["log", "stats", *where]).stdout
    assert "completions" in shown
    assert "outbox.sqlite: 1 events" in shown

    monkeypatch.setenv("HONE_FEEDBACK_LOG_KEEP_S", "0")
    done = hone.invoke(app, ["log", "archive", "--json", *where])
    assert json.loads(done.stdout)["events"] == 0  # the last one is younger than two minutes
    assert "HONE_FEEDBACK_ARCHIVE_URL" not in os.environ
