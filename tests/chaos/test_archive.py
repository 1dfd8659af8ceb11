"""`kill -9` of the archiver, or of Redis, at random moments, while events come: each is read once, in between
and after.

HONE_CHAOS_KILLS=200 kills each so often; HONE_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from feedback import keys
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.events import Completion, id_of
from feedback.history import History
from feedback.journal import Journal
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer
from tests.feedback.archive.logs import completion
from tests.feedback.test_journal import until_drained

KILLS = int(os.environ.get("HONE_CHAOS_KILLS", "5"))
SEED = int(os.environ.get("HONE_CHAOS_SEED", str(random.SystemRandom().randrange(10**6))))


class Victim:
    """The archiver's process."""

    def __init__(self, settings: FeedbackSettings, log: Path) -> None:
        self._environment = os.environ | {
            "HONE_FEEDBACK_REDIS_URL": settings.redis_url,
            "HONE_FEEDBACK_ARCHIVE_URL": settings.archive_url,
            "HONE_FEEDBACK_LOG_KEEP_S": "0",
            "HONE_FEEDBACK_ARCHIVE_EVERY_S": "1",
        }
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.archiving"],
                env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process.poll() is None, self._log.read_text()
        self.process.kill()
        self.process.wait()


async def write_until(journal: Journal, acknowledged: list[str], is_over: asyncio.Event) -> None:
    """Some of them twice, as a client's retry or a late outbox would."""
    chance = random.Random(SEED)
    old: list[Completion] = []
    while not is_over.is_set():
        # Made a while ago, as in an outbox that comes late: such an id may be archived already.
        made = int(time.time() * 1000) - 600_000
        identity = id_of("chatcmpl-", made << 80 | chance.getrandbits(80))
        event = completion("x" * chance.randrange(2_000), id=identity, created=made / 1000)
        await journal.append(event)
        acknowledged.append(event.id)
        old.append(event)
        if chance.random() < 0.1:
            await journal.append(chance.choice(old))
        await asyncio.sleep(0.002)


@pytest.mark.timeout(300 + 10 * KILLS)
@pytest.mark.parametrize("part", ["archiver", "redis"])
async def test_killed_anywhere_in_archiving_nothing_is_lost_or_doubled(
    redis_server: RedisServer, tmp_path: Path, part: str
) -> None:
    sys.stdout.write(f"HONE_CHAOS_SEED={SEED}\n")
    chance = random.Random(SEED)
    settings = FeedbackSettings(
        redis_url=redis_server.url,
        outbox_path=tmp_path / "outbox.sqlite",
        archive_url=str(tmp_path / "archive"),
    )
    journal = Journal(settings)
    await journal.start()
    acknowledged: list[str] = []
    is_over = asyncio.Event()
    writing = asyncio.create_task(write_until(journal, acknowledged, is_over))
    victim = Victim(settings, tmp_path / "archiver.log")

    def look() -> Counter[str]:
        """What the log gives at some moment in between, each once."""
        with connect(settings.redis_url) as client:
            history = History(client, Archive.of(settings))
            return Counter(event.id for _, event in history.read("completions"))

    try:
        for _ in range(KILLS):
            known = set(acknowledged)
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            if part == "redis":
                await asyncio.to_thread(redis_server.stop, kill=True)
                await asyncio.to_thread(redis_server.start)
                await until_drained(journal)
            else:
                victim.kill()
            found = await asyncio.to_thread(look)
            assert known - found.keys() == set()
            assert [event_id for event_id, count in found.items() if count > 1] == []
            assert not writing.done() or writing.result() is None
            if part == "archiver":
                victim.start()
    finally:
        is_over.set()
        await writing
        await until_drained(journal)
        deadline = time.monotonic() + 120
        with connect(settings.redis_url) as client:
            while client.xlen(keys.stream("completions")) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            left = client.xlen(keys.stream("completions"))
        victim.kill()
    found = await asyncio.to_thread(look)
    assert found == Counter(acknowledged)
    archive = Archive.of(settings)
    segments = archive.segments("completions")
    archived = sum(segment.events for segment in segments)
    assert archived == len(acknowledged) - left
    assert segments
    await journal.close()
    sys.stdout.write(
        f"{part}: {KILLS} kills, {len(acknowledged)} events, {len(segments)} segments: 0 lost, 0 doubled\n"
    )
