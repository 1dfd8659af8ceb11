from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import Conflict, Unavailable
from feedback.events import Audit, encode, new_id
from feedback.journal import Journal
from feedback.outbox import Outbox
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer
from tests.small_disk import SmallDisk


def an_event(number: int, **detail: str) -> Audit:
    identity = new_id("aud_")
    return Audit(
        id=identity, created=float(number), actor="a", action=str(number), detail=dict(detail)
    )


def settings(url: str, folder: Path) -> FeedbackSettings:
    return FeedbackSettings(redis_url=url, outbox_path=folder / "outbox.sqlite")


async def until_drained(journal: Journal, *, timeout_s: float = 60) -> None:
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
    await until_drained(journal)
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
    event = an_event(1)
    child = f"""
import asyncio, os, signal
from pathlib import Path
from feedback.events import decode
from feedback.journal import Journal
from feedback.settings import FeedbackSettings

async def main():
    where = FeedbackSettings(redis_url={redis_server.url!r}, outbox_path=Path({str(tmp_path)!r}) / "outbox.sqlite")
    await Journal(where).append(decode("audit", {encode(event)!r}))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", child)
    assert await first.wait() == -signal.SIGKILL
    redis_server.start()
    second = Journal(settings(redis_server.url, tmp_path))
    await second.start()
    await until_drained(second)
    assert await second.get("audit", event.id) == event
    await second.close()
    assert len(list(eventlog.read(connect(redis_server.url), "audit"))) == 1


async def test_a_retry_of_an_event_that_went_to_redis_and_to_the_outbox_counts_once(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    event = an_event(1)
    eventlog.append(connect(redis_server.url), event)  # Redis had it, but the reply was lost …
    with closing(Outbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.put(event)  # … so it went to the outbox as well
    journal = Journal(settings(redis_server.url, tmp_path))
    await journal.start()
    await until_drained(journal)
    await journal.close()
    assert len(list(eventlog.read(connect(redis_server.url), "audit"))) == 1


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


async def fill_through(journal: Journal) -> list[Audit]:
    """Events until the disk takes no more. Returns those that it took."""
    kept: list[Audit] = []
    while True:
        event = an_event(len(kept), text="x" * 2_000)
        try:
            await journal.append(event)
        except Unavailable:
            return kept
        kept.append(event)


async def test_an_event_that_neither_redis_nor_the_disk_took_is_nowhere(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    journal = Journal(settings(redis_server.url, small_disk.folder))
    small_disk.fill()
    redis_server.stop()
    event = an_event(1)
    with pytest.raises(Unavailable):
        await journal.append(event)
    redis_server.start()
    assert await journal.get("audit", event.id) is None
    assert await journal.append(event)
    assert await journal.get("audit", event.id) == event
    await journal.close()


@pytest.mark.parametrize("filled_by", ["the outbox", "others"])
async def test_the_outbox_empties_on_a_disk_that_stays_full(
    redis_server: RedisServer, small_disk: SmallDisk, filled_by: str
) -> None:
    journal = Journal(settings(redis_server.url, small_disk.folder))
    await journal.start()
    redis_server.stop()
    if filled_by == "the outbox":
        kept = await fill_through(journal)
    else:
        kept = [an_event(number) for number in range(100)]
        for event in kept:
            await journal.append(event)
        small_disk.fill()
    redis_server.start()
    await until_drained(journal)
    if filled_by == "others":
        small_disk.fill()  # what the outbox gave back as well
    after = an_event(len(kept))
    await journal.append(after)
    found = [event for _, event in eventlog.read(connect(redis_server.url), "audit")]
    assert found == [*kept, after]
    await journal.close()


async def test_a_drained_outbox_gives_the_disk_its_room_back(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    journal = Journal(settings(redis_server.url, small_disk.folder))
    await journal.start()
    for _ in range(2):
        redis_server.stop()
        assert len(await fill_through(journal)) > 100
        redis_server.start()
        await until_drained(journal)
    await journal.close()
    assert [file.name for file in small_disk.folder.iterdir()] == ["outbox.sqlite.lock"]


async def test_a_start_on_a_full_disk_waits_with_what_may_not_overtake_the_outbox(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    where = settings(redis_server.url, small_disk.folder)
    redis_server.stop()
    first = Journal(where)
    event = an_event(1)
    await first.append(event)
    await first.close()  # which leaves nothing but the database: opening it needs room
    small_disk.fill()
    redis_server.start()
    second = Journal(where)
    await second.start()
    assert second.depth() > 0
    with pytest.raises(Unavailable):
        await second.append(an_event(2))
    with pytest.raises(Unavailable):
        await second.get("audit", event.id)
    small_disk.free()
    await until_drained(second)
    last = an_event(3)
    await second.append(last)
    await second.close()
    found = [event for _, event in eventlog.read(connect(redis_server.url), "audit")]
    assert found == [event, last]


async def test_a_start_on_a_full_disk_with_nothing_in_the_outbox_is_an_ordinary_one(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    where = settings(redis_server.url, small_disk.folder)
    small_disk.fill()
    redis_server.stop()
    first = Journal(where)
    with pytest.raises(Unavailable):
        await first.append(an_event(1))  # half of an outbox was written
    await first.close()
    redis_server.start()
    second = Journal(where)
    assert second.depth() == 0
    await second.append(an_event(2))
    await second.close()


async def test_draining_goes_on_after_a_redis_that_refuses(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    journal = Journal(settings(redis_server.url, tmp_path))
    await journal.start()
    redis_server.stop()
    event = an_event(1)
    await journal.append(event)
    redis_server.start()
    with connect(redis_server.url) as client:
        client.set("hone:log:audit", "no stream")  # a WRONGTYPE for every event
        await asyncio.sleep(1.2)
        assert journal.depth() == 1
        client.delete("hone:log:audit")
    await until_drained(journal)
    await journal.close()


def test_an_outbox_belongs_to_one_process(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite")):
        with pytest.raises(Conflict, match="outbox.sqlite"):
            Outbox(tmp_path / "outbox.sqlite")
    Outbox(tmp_path / "outbox.sqlite").close()
