"""The audit log, page by page, on into the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog, keys
from feedback.events import Audit, new_id
from tests.feedback.archive.logs import archiver, settings
from tests.serving.conftest import Running
from tests.serving.test_admin import call


@pytest.fixture(autouse=True)
def archive_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "archive")
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", url)
    return url


def change(client: redis.Redis, number: int) -> None:
    event = Audit(
        id=new_id("aud_"),
        created=float(number + 1),
        actor="key_1",
        action="promote",
        detail={"reason": f"no. {number}"},
    )
    eventlog.append(client, event)


def pages(gateway: Running, *, limit: int) -> list[list[str]]:
    """The reasons on each page, to the end."""
    found: list[list[str]] = []
    before = ""
    while True:
        page: dict[str, Any] = call(gateway, "GET", f"/admin/audit?limit={limit}{before}").json()
        found.append([entry["detail"]["reason"] for entry in page["data"]])
        if not page["has_more"]:
            return found
        before = f"&before={page['data'][-1]['entry']}"


def test_pages_go_from_the_newest_to_the_oldest(gateway: Running) -> None:
    assert pages(gateway, limit=2) == [[]]
    for number in range(5):
        change(gateway.redis, number)
    assert pages(gateway, limit=2) == [["no. 4", "no. 3"], ["no. 2", "no. 1"], ["no. 0"]]


def test_what_has_left_redis_follows_from_the_archive_once_each(
    gateway: Running, redis_url: str, archive_url: str
) -> None:
    given = settings(redis_url, Path(archive_url).parent)
    for number in range(6):
        change(gateway.redis, number)
        if number in (1, 3):
            archiver(gateway.redis, given).run()
    assert gateway.redis.xlen(keys.stream("audit")) == 2
    told = [reason for page in pages(gateway, limit=4) for reason in page]
    assert told == [f"no. {number}" for number in range(5, -1, -1)]
    assert [len(page) for page in pages(gateway, limit=4)] == [4, 2]


def test_an_entry_that_is_none_is_refused(gateway: Running) -> None:
    assert call(gateway, "GET", "/admin/audit?before=yesterday").status_code == 422
