"""`hone bench feedback`: judgements a second that one gateway on one core takes, each durable.

1. Start Redis (every write on disk before it is answered) and the gateway; put answers into the log that
   can be judged.
2. Round by round: comparisons and rankings from so many labelers at a time; then the floor, which is
   appending events of the same size to the same Redis from the same core, and nothing else.

What was acknowledged is counted in the log.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import orjson

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.events import Choice, Completion, new_id
from serving import auth
from serving.bench.load import Load, Sample, pinned, quantile, send
from serving.bench.processes import cores, gateway_alone
from serving.bench.report import machine, times
from serving.stack.parts import Plan

_NUM_SETS = 500
_NUM_ANSWERS = 4


async def run(
    *,
    data_dir: Path,
    concurrency: Sequence[int],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report."""
    async with gateway_alone(data_dir) as (plan, pids):
        loads = _loads(plan, pids["gateway"])
        rows = []
        for size in concurrency:
            rows += await _measured(plan, loads, size=size, seconds=seconds, rounds=rounds, say=say)
    return {"machine": machine(), "feedback": rows}


async def _measured(
    plan: Plan,
    loads: dict[str, Load],
    *,
    size: int,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    floors: list[dict[str, float]] = []
    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    logged: dict[str, list[int]] = {name: [] for name in loads}
    for number in range(rounds):
        for name, load in loads.items():
            say(f"{size} at a time, round {number + 1} of {rounds}: {name}")
            before = _num_logged(plan)
            shaped = replace(load, concurrency=size, seconds=seconds)
            samples[name].append(await send(shaped, on=cores()[1]))
            logged[name].append(_num_logged(plan) - before)
        say(f"{size} at a time, round {number + 1} of {rounds}: the log alone")
        floors.append(await _floor(plan, writers=size, seconds=seconds))
    floor = median(found["events_per_s"] for found in floors)
    rows = [_row(name, size, samples[name], logged[name], floor) for name in loads]
    cpu_ms = median(found["cpu_ms"] for found in floors)
    return [*rows, {"target": "the log alone", "at_a_time": size, "per_s": floor, "cpu_ms": cpu_ms}]


def _row(
    name: str, size: int, samples: Sequence[Sample], logged: Sequence[int], floor: float
) -> dict[str, Any]:
    per_s = median(len(sample.took_ms) / sample.seconds for sample in samples)
    return {
        "target": name,
        "at_a_time": size,
        "per_s": per_s,
        "share_of_floor": times(per_s, floor),
        "p50_ms": median(quantile(sample.took_ms, 0.5) for sample in samples),
        "p99_ms": median(quantile(sample.took_ms, 0.99) for sample in samples),
        "cpu_ms": median(sample.cpu_s * 1e3 / sample.num_requests for sample in samples),
        "rss_mb": median(sample.rss_bytes / 1e6 for sample in samples),
        "num_failed": sum(sample.num_failed for sample in samples),
        # Of the warm-up's requests too: all that were sent are in the log, each once.
        "num_missing": sum(sample.num_sent for sample in samples) - sum(logged),
        "errors": sorted({error for sample in samples for error in sample.errors}),
    }


def _loads(plan: Plan, pid: int) -> dict[str, Load]:
    with connect(plan.redis_url) as client:
        record = auth.ensure_key(
            client,
            plan.secrets.api_key,
            name="bench",
            scopes=("infer", "label"),
            requests_per_minute=10**9,
        )
        ids = [_log_answers(client, record) for _ in range(_NUM_SETS)]
    headers = {"authorization": f"Bearer {plan.secrets.api_key}"}
    headers["content-type"] = "application/json"
    base = Load(url=plan.url, headers=headers, bodies=[], pids=(pid,))
    labelers = [f"labeler-{number % 40:03}" for number in range(_NUM_SETS)]
    pairs = [_comparison(name, who) for name, who in zip(ids, labelers, strict=True)]
    orders = [_ranking(name, who) for name, who in zip(ids, labelers, strict=True)]
    return {
        "comparisons": replace(base, path="/v1/feedback/comparisons", bodies=pairs),
        "rankings of 4": replace(base, path="/v1/feedback/rankings", bodies=orders),
    }


def _comparison(completion_id: str, labeler: str) -> dict[str, Any]:
    a, b = ({"completion_id": completion_id, "index": index} for index in (0, 1))
    return {"a": a, "b": b, "preference": 2, "labeler": labeler}


def _ranking(completion_id: str, labeler: str) -> dict[str, Any]:
    candidates = [{"completion_id": completion_id, "index": index} for index in range(_NUM_ANSWERS)]
    return {"candidates": candidates, "tiers": [["b"], ["a", "d"], ["c"]], "labeler": labeler}


def _log_answers(client: Any, key: auth.ApiKey) -> str:
    choices = [
        Choice(
            index=index,
            text="Good company is found where people cook together. " * 4,
            token_ids=list(range(40)),
            logprobs=[-1.0] * 40,
            finish_reason="stop",
        )
        for index in range(_NUM_ANSWERS)
    ]
    completion = Completion(
        id=new_id("chatcmpl-"),
        created=time.time(),
        key_id=key.id,
        tenant=key.tenant,
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "How do I find good company?"}]},
        prompt_ids=list(range(20)),
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="0" * 64,
        latency_ms=1.0,
    )
    eventlog.append(client, completion)
    return completion.id


def _num_logged(plan: Plan) -> int:
    with connect(plan.redis_url) as client:
        return cast(int, client.xlen(keys.stream("feedback")))


async def _floor(plan: Plan, *, writers: int, seconds: float) -> dict[str, float]:
    arguments = (plan.redis_url, str(writers), str(seconds))
    process = await asyncio.create_subprocess_exec(
        *pinned((sys.executable, "-m", "serving.bench.append", *arguments), to=cores()[0]),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return cast("dict[str, float]", orjson.loads(output))
