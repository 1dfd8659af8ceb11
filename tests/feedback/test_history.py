"""The log as a whole: archive and Redis read as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedback.connection import connect
from feedback.history import History
from tests.feedback.archive import logs


def test_only_events_that_hold_some_bytes_are_read_archived_or_not(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = logs.settings(redis_url, tmp_path)
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", given.archive_url)
    old = [logs.completion("tea", end_user=user) for user in ("eve", 'é"v', "eve", "bob")]
    new = [logs.completion("coffee", end_user=user) for user in ("bob", "eve")]
    with connect(redis_url) as client:
        logs.fill(client, *old)
        assert logs.archiver(client, given).run().num_events == len(old)
        logs.fill(client, *new)
        found = [event for _, event in History(client).read("completions", holding=b'"eve"')]
        assert found == [old[0], old[2], new[1]]
        assert [event for _, event in History(client).read("completions")] == old + new
