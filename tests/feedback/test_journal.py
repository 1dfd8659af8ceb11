from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.events import Audit, new_id
from feedback.journal import Journal
from feedback.outbox import Outbox
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer


def an_event(number: int) -> Audit:
    return Audit(id=new_id("aud_"), created=float(number), actor="a", action=str(number))


def settings(url: str, folder: Path) -> FeedbackSettings:
    return FeedbackSettings(redis_url=url, outbox_path=folder / "outbox.sqlite")


async def until_drained(journal: Journal, *, timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while journal.depth():
            await asyncio.sleep(0.05)


async def test_events_written_while_redis_is_away_are_in_the_log_once_and_in_order(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    journal = Journal(settings(redis_server.url, tmp_path))
    await journal.start()
    events = [an_event(number) for number in range(30)]
    for event in events[:10]:
        await journal.append(event)
    redis_server.stop(kill=True)
    for event in events[10:20]:
        await journal.append(event)
    assert journal.depth() == 10
    redis_server.start()
    for event in events[20:]:
        await journal.append(event)
    await until_drained(journal)
    await journal.close()
    found = [event for _, event in eventlog.read(connect(redis_server.url), "audit")]
    assert found == events


async def test_the_outbox_empties_while_others_go_on_writing(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    journal = Journal(settings(redis_server.url, tmp_path))
    await journal.start()
    written: list[str] = []
    is_over = False

    async def write() -> None:
        while not is_over:
            event = an_event(len(written))
            await journal.append(event)
            written.append(event.id)

    writers = [asyncio.create_task(write()) for _ in range(8)]
    redis_server.stop(kill=True)
    while journal.depth() < 500:
        await asyncio.sleep(0.02)
    redis_server.start()
    await until_drained(journal, timeout_s=20)
    is_over = True
    await asyncio.gather(*writers)
    await until_drained(journal)
    await journal.close()
    found = [event.id for _, event in eventlog.read(connect(redis_server.url), "audit")]
    assert sorted(found) == sorted(written)


async def test_an_event_waiting_in_the_outbox_survives_a_new_process(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    first = Journal(settings(redis_server.url, tmp_path))
    event = an_event(1)
    await first.append(event)  # never closed: as after kill -9
    redis_server.start()
    second = Journal(settings(redis_server.url, tmp_path))
    await second.start()
    await until_drained(second)
    assert await second.get("audit", event.id) == event
    await second.close()
    assert eventlog.count_after(connect(redis_server.url), "audit", after="-") == 1


async def test_a_retry_of_an_event_that_went_to_redis_and_to_the_outbox_counts_once(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    event = an_event(1)
    eventlog.append(connect(redis_server.url), event)  # Redis had it, but the reply was lost …
    Outbox(tmp_path / "outbox.sqlite").put(event)  # … so it went to the outbox as well
    journal = Journal(settings(redis_server.url, tmp_path))
    await journal.start()
    await until_drained(journal)
    await journal.close()
    assert eventlog.count_after(connect(redis_server.url), "audit", after="-") == 1


async def test_what_only_redis_could_know_is_an_error_while_it_is_away(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    journal = Journal(settings(redis_server.url, tmp_path))
    redis_server.stop()
    with pytest.raises(redis.ConnectionError):
        await journal.get("audit", "aud_unknown")
    event = an_event(1)
    await journal.append(event)
    assert await journal.get("audit", event.id) == event
    await journal.close()


async def test_the_newest_events_are_remembered_up_to_so_many_bytes(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    journal = Journal(settings(redis_server.url, tmp_path))
    events = [replace(an_event(n), detail={"text": "x" * 1_000_000}) for n in range(40)]
    for event in events:
        await journal.append(event)
    redis_server.stop()
    assert await journal.get("audit", events[-1].id) == events[-1]
    with pytest.raises(redis.ConnectionError):  # 32 MB are newer
        await journal.get("audit", events[0].id)
    await journal.close()
