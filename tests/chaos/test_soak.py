"""Memory stays flat: mixed traffic at full speed, and what the gateway's memory does meanwhile.

HONE_CHAOS_SOAK_S=600 runs for ten minutes; by default half a minute, which finds a leak that is
large. What an hour at 100 requests a second would add is extrapolated from the slope after a
warm-up. Both count requests and not time, so that a busy machine does not look like a leak.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest

from feedback.connection import connect
from serving import auth
from tests.chaos.stack import Stack, ready, rss_bytes
from tests.chaos.traffic import Traffic
from tests.conftest import RedisServer

SOAK_S = float(os.environ.get("HONE_CHAOS_SOAK_S", "30"))
WARM_REQUESTS = 8_000  # caches, buffers and the newest 2,000 events fill
LEAST_REQUESTS = 8_000  # watched, if it takes longer than SOAK_S
EVERY_S = SOAK_S / 120
HOUR = 360_000  # requests: an hour at 100 a second
# Of an hour's worth; a short run cannot tell a small slope from what malloc does at the time.
MOST_BYTES = 32e6 if SOAK_S >= 300 else 128e6


@dataclass(frozen=True, kw_only=True)
class Slope:
    """By Theil and Sen: the median over all pairs, and Sen's 95 % interval."""

    low: float
    middle: float
    high: float


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    pairs = combinations(zip(xs, ys, strict=True), 2)
    slopes = sorted((y - b) / (x - a) for (a, b), (x, y) in pairs if x != a)
    n = len(xs)
    around = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    middle, last = len(slopes) / 2, len(slopes) - 1
    low, high = max(0, math.floor(middle - around)), min(last, math.ceil(middle + around))
    return Slope(low=slopes[low], middle=median(slopes), high=slopes[high])


@pytest.mark.parametrize("rise", [0.0, 2.0])
def test_the_slope_is_found_in_spite_of_outliers(rise: float) -> None:
    xs = [float(x) for x in range(60)]
    ys = [rise * x + (x * 7 % 5) + (1_000 if x % 13 == 0 else 0) for x in xs]
    found = slope(xs, ys)
    assert found.low <= rise <= found.high
    assert found.middle == pytest.approx(rise, abs=0.1)


@pytest.fixture
def stack(tmp_path: Path, redis_server: RedisServer) -> Iterator[Stack]:
    running = Stack(tmp_path, redis_server, pace_ms=1)
    yield running
    running.stop()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The gateway after so many requests."""

    num_requests: int
    rss_bytes: int
    num_files: int


async def watched(stack: Stack, traffic: Traffic) -> list[Sample]:
    """The gateway after the warm-up, again and again."""
    while traffic.num_requests < WARM_REQUESTS:
        await asyncio.sleep(0.1)
    samples: list[Sample] = []
    began = time.monotonic()
    while (
        time.monotonic() < began + SOAK_S or traffic.num_requests < WARM_REQUESTS + LEAST_REQUESTS
    ):
        await asyncio.sleep(EVERY_S)
        files = len(os.listdir(f"/proc/{stack.gateway.pid}/fd"))
        now = Sample(
            num_requests=traffic.num_requests, rss_bytes=rss_bytes(stack.gateway), num_files=files
        )
        samples.append(now)
    return samples


@pytest.mark.timeout(SOAK_S + 400)
async def test_memory_stays_flat(stack: Stack) -> None:
    with connect(stack.redis.url) as client:
        secrets = [
            auth.create_key(client, name=f"app-{n}", scopes=("infer", "label"))[0]
            for n in range(20)
        ]
    await ready(stack.plan.url)
    traffic, is_over = Traffic(stack.plan.url, secrets, seed=1), asyncio.Event()
    running = asyncio.create_task(traffic.run(is_over, num_clients=16))
    before = rss_bytes(stack.gateway)
    samples = await watched(stack, traffic)
    is_over.set()
    await running
    assert traffic.unexpected == {}
    assert traffic.outcomes["answered anew 200"] <= 0.05 * traffic.outcomes["replayed 200"]

    grows = slope([s.num_requests for s in samples], [s.rss_bytes for s in samples])
    first, last = samples[0], samples[-1]
    sys.stdout.write(
        f"{last.num_requests} requests: {before / 1e6:.1f} MB at first, "
        f"{first.rss_bytes / 1e6:.1f} after {first.num_requests}, {last.rss_bytes / 1e6:.1f} at the end; "
        f"{grows.middle:.1f} [{grows.low:.1f}, {grows.high:.1f}] KB per 1,000 requests, an hour at 100/s "
        f"{grows.middle * HOUR / 1e6:+.1f} [{grows.low * HOUR / 1e6:+.1f}, "
        f"{grows.high * HOUR / 1e6:+.1f}] MB; {first.num_files} files open, {last.num_files} at the end\n"
        f"{dict(traffic.outcomes)}\n"
    )
    assert grows.middle * HOUR < MOST_BYTES
    assert last.num_files < first.num_files + 50
