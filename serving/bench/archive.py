"""`hone bench archive`: N events, then ten times as many, from a real Redis to Parquet.

1. Start Redis (every event on disk, as under `hone up`), and fill it with old completions.
2. The floor: read the stream, and nothing else. 3. A process archives all of it. 4. The other floor:
   write the same rows as Parquet to the same disk, and nothing else. 5. Read the log back.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.errors import HoneError
from feedback.events import Choice, Completion, encode, id_of
from serving.bench.report import machine, times
from serving.stack import parts
from serving.stack.preflight import choose_port
from serving.stack.supervisor import Supervisor

if TYPE_CHECKING:
    import redis

_AGE_S = 30 * 86_400
_BATCH = 500
_VOCABULARY = 49_152  # of the default model
_WORDS = 4_000


async def run(
    *, data_dir: Path, num_events: int, num_tokens: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """The report. Redis' folder and the archive are made in `data_dir`, on the disk that `hone up` writes."""
    data_dir.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in (num_events, 10 * num_events):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir.resolve()) as temporary:
            rows += await _measure(Path(temporary), number, num_tokens, say)
    return {"machine": machine(), "answer_tokens": num_tokens, "archive": rows}


async def _measure(
    folder: Path, num_events: int, num_tokens: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    plan = parts.plan(
        data_dir=folder,
        base_model=folder,
        host="127.0.0.1",
        port=choose_port(8300),
        redis_url=None,
    )
    redis_part = parts.parts(plan)[0]
    environment = parts.environment(plan) | {
        "HONE_FEEDBACK_ARCHIVE_URL": str(folder / "archive"),
        "HONE_FEEDBACK_LOG_KEEP_S": "0",
    }
    async with Supervisor(
        [redis_part],
        stack=plan.stack,
        environment=environment,
        log_dir=folder / "logs",
        on_change=lambda _: None,
    ) as supervisor:
        stopping = asyncio.Event()
        watching = asyncio.create_task(supervisor.run(stopping))
        try:
            while not supervisor.all_ready:
                await asyncio.sleep(0.05)
            return await asyncio.to_thread(
                _with_redis, plan.redis_url, environment, num_events, num_tokens, say
            )
        finally:
            stopping.set()
            await watching
            await supervisor.stop()


def _with_redis(
    url: str,
    environment: dict[str, str],
    num_events: int,
    num_tokens: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    with connect(url, timeout_s=60.0) as client:
        say(f"{num_events} events: filling Redis")
        fill(client, num_events, num_tokens=num_tokens)
        memory_mb = client.memory_usage(keys.stream(Completion.kind)) / 1e6
        say(f"{num_events} events: reading the stream alone")
        read_s = _seconds(lambda: _read_stream(client))
        say(f"{num_events} events: archiving")
        done = _archive(environment)
        if done["num_events"] != num_events:
            raise HoneError(f"of {num_events} events {done['num_events']} were archived")
        say(f"{num_events} events: writing the same Parquet alone")
        url = environment["HONE_FEEDBACK_ARCHIVE_URL"]
        write_s = _write_again(url)
        say(f"{num_events} events: reading the log back")
        back_s = _seconds(lambda: _read_back(client, url, num_events))
    size = done["json_bytes"]
    rows = [
        _row("archiver", num_events, size, done["seconds"]),
        _row("floor: reading the stream", num_events, size, read_s),
        _row("floor: writing the Parquet", num_events, size, write_s),
        _row("reading the log back", num_events, size, back_s),
    ]
    rows[0] |= {
        "of_floor": times(read_s + write_s, done["seconds"]),
        "peak_mb": done["peak_mb"],
        "at_start_mb": done["before_mb"],
        "redis_mb": memory_mb,
        "file_mb": done["file_bytes"] / 1e6,
        "num_segments": done["segments"],
    }
    return rows


def fill(client: redis.Redis, num_events: int, *, num_tokens: int) -> None:
    """Completions of a month ago, with their index and lists, as the gateway's script leaves them."""
    first_ms = int((time.time() - _AGE_S) * 1000)
    pipe = client.pipeline(transaction=False)
    for number, event in enumerate(_completions(num_events, num_tokens, first_ms)):
        entry = f"{first_ms + number}-0"
        pipe.xadd(keys.stream(event.kind), {"e": encode(event)}, id=entry)
        pipe.hset(keys.index(event.kind), event.id, entry)
        for name in eventlog.listings(event, event.metadata):
            pipe.zadd(name, {event.id: 0})
        if number % _BATCH == _BATCH - 1:
            pipe.execute()
    pipe.execute()


def _completions(num_events: int, num_tokens: int, first_ms: int) -> Iterator[Completion]:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnop", k=6)) for _ in range(_WORDS)]
    for number in range(num_events):
        made = first_ms + number
        answer = " ".join(chance.choices(words, k=num_tokens))
        choice = Choice(
            index=0,
            text=answer,
            token_ids=chance.choices(range(_VOCABULARY), k=num_tokens),
            logprobs=[round(-chance.expovariate(1), 6) for _ in range(num_tokens)],
            finish_reason="stop",
        )
        prompt = " ".join(chance.choices(words, k=40))
        yield Completion(
            id=id_of("chatcmpl-", made << 80 | chance.getrandbits(80)),
            created=made / 1000,
            key_id="key_bench",
            tenant="default",
            endpoint="chat",
            request={"messages": [{"role": "user", "content": prompt}], "temperature": 1.0},
            prompt_ids=chance.choices(range(_VOCABULARY), k=60),
            choices=[choice],
            version="policy-0001",
            version_last="policy-0001",
            digest="0" * 64,
            latency_ms=chance.uniform(100, 900),
            end_user=f"user-{chance.randrange(1000)}",
        )


def _archive(environment: dict[str, str]) -> dict[str, Any]:
    import subprocess

    command = [sys.executable, "-m", "serving.bench.archiving"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return cast("dict[str, Any]", json.loads(done.stdout))


def _read_stream(client: redis.Redis) -> None:
    """Pages as the archiver reads them."""
    start = "-"
    stream = keys.stream(Completion.kind)
    while rows := cast(eventlog.Rows, client.xrange(stream, start, count=200)):
        start = f"({rows[-1][0].decode()}"


def _write_again(url: str) -> float:
    """Seconds to write the rows of all segments, which are read beforehand, to the same disk."""
    import pyarrow.parquet as pq

    seconds = 0.0
    for path in sorted(Path(url, Completion.kind).glob("*.parquet")):
        groups = [pq.ParquetFile(path).read_row_group(i) for i in range(_num_groups(path))]
        copy = path.with_suffix(".copy")
        began = time.perf_counter()
        with copy.open("wb") as file:
            with pq.ParquetWriter(
                file, groups[0].schema, compression="zstd", compression_level=3
            ) as writer:
                for group in groups:
                    writer.write_table(group)
            file.flush()
            os.fsync(file.fileno())
        seconds += time.perf_counter() - began
        copy.unlink()
    return seconds


def _num_groups(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).num_row_groups)


def _read_back(client: redis.Redis, url: str, num_events: int) -> None:
    from feedback.archive.reader import Archive
    from feedback.history import History

    found = sum(1 for _ in History(client, Archive(url)).read(Completion.kind))
    if found != num_events:
        raise HoneError(f"of {num_events} archived events {found} were read back")


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(target: str, num_events: int, num_bytes: int, seconds: float) -> dict[str, Any]:
    return {
        "target": target,
        "num_events": num_events,
        "seconds": seconds,
        "events_per_s": num_events / seconds,
        "mb_per_s": num_bytes / 1e6 / seconds,
        "of_floor": 0.0,
        "peak_mb": 0.0,
        "at_start_mb": 0.0,
        "redis_mb": 0.0,
        "file_mb": 0.0,
        "errors": [],
    }
