"""`kill -9` of gateway, archiver and Redis at random moments, while people judge: nothing lost or doubled.

HONE_CHAOS_KILLS=200 kills so often altogether; HONE_CHAOS_SEED repeats a run's moments and parts.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback import keys
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.history import History
from feedback.settings import FeedbackSettings
from serving import auth
from tests.chaos.judges import Judges
from tests.chaos.stack import Stack, ready
from tests.conftest import RedisServer

KILLS = int(os.environ.get("HONE_CHAOS_KILLS", "9"))
SEED = int(os.environ.get("HONE_CHAOS_SEED", str(time.time_ns() % 1_000_000)))


@pytest.fixture
def stack(tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:
    running = Stack(
        tmp_path,
        redis_server,
        pace_ms=0,
        feedback_log_keep_s=0,
        feedback_archive_every_s=1,
        feedback_archive_url=str(tmp_path / "archive"),
    )
    yield running
    running.stop()


@pytest.mark.timeout(1_800)
async def test_no_judgement_is_lost_or_doubled_whatever_dies_and_when(
    stack: Stack, tmp_path: Path
) -> None:
    sys.stdout.write(f"HONE_CHAOS_SEED={SEED}\n")
    rng, killed = random.Random(SEED), Counter[str]()
    with connect(stack.redis.url) as client:
        secret, _ = auth.create_key(client, name="judges", scopes=("infer",))
    await ready(stack.plan.url)
    judges, is_over = Judges(stack.plan.url, secret, seed=SEED), asyncio.Event()
    judging = asyncio.create_task(judges.judge_until(is_over))
    for _ in range(KILLS):
        stack.start_archiver()
        await asyncio.sleep(rng.uniform(0.05, 2.0))
        part = rng.choice(("gateway", "redis", "archiver"))
        killed[part] += 1
        await asyncio.to_thread(getattr(stack, f"kill_{part}"))
    is_over.set()
    await judging
    await ready(stack.plan.url)
    stack.start_archiver()
    await asyncio.sleep(2)

    settings = FeedbackSettings(redis_url=stack.redis.url, archive_url=str(tmp_path / "archive"))
    with connect(stack.redis.url) as client:
        history = History(client, Archive.of(settings))
        logged = Counter(event.id for _, event in history.read("feedback"))
        num_in_redis = client.xlen(keys.stream("feedback"))
    assert [name for name, count in logged.items() if count > 1] == []
    assert [ids for ids in judges.taken.values() if len(ids) != 1] == []
    acknowledged = {name for ids in judges.taken.values() for name in ids}
    assert acknowledged - logged.keys() == set()
    assert logged.keys() - acknowledged == set()  # each was sent until it was acknowledged
    sys.stdout.write(
        f"{KILLS} kills {dict(killed)}: {len(acknowledged)} judgements acknowledged, "
        f"{judges.num_retries} retries, {len(logged) - num_in_redis} of them in the archive\n"
    )
