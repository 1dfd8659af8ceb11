"""The floor under feedback: events of the same size put into the log, durable, and nothing else.

A process of its own, on the core that the gateway has: so many writers at a time for so long, as the
gateway's journal writes them. Prints JSON.

    python -m serving.bench.append REDIS_URL WRITERS SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from feedback.events import Feedback, new_id
from feedback.journal import Journal
from feedback.settings import FeedbackSettings
from serving.bench.load import run_loop

_BODY = {"a": {"completion_id": "chatcmpl-" + "0" * 26, "index": 0}, "preference": 2}


async def append(redis_url: str, *, writers: int, seconds: float) -> dict[str, float]:
    """Events a second, and CPU time of each."""
    with TemporaryDirectory() as folder:
        outbox = Path(folder) / "outbox.sqlite"
        journal = Journal(FeedbackSettings(redis_url=redis_url, outbox_path=outbox))
        count, end = 0, time.perf_counter() + seconds

        async def write() -> None:
            nonlocal count
            while time.perf_counter() < end:
                await journal.append(_event())
                count += 1

        began, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(write() for _ in range(writers)))
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        await journal.close()
    return {"events_per_s": count / took_s, "cpu_ms": cpu_s * 1e3 / max(count, 1)}


def _event() -> Feedback:
    return Feedback(
        id=new_id("fbk_"),
        created=time.time(),
        form="comparison",
        labeler="labeler-000",
        tenant="default",
        completion_ids=[str(_BODY["a"])],
        body=_BODY | {"b": _BODY["a"], "both_bad": False, "duration_ms": None, "note": ""},
    )


async def _main() -> None:
    url, writers, seconds = sys.argv[1:]
    found = await append(url, writers=int(writers), seconds=float(seconds))
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    run_loop(_main())
