"""`hone bench console`: how long each screen takes with a large store.

1. Start Redis and a gateway on one core. 2. Fill Redis with completions, indexed and listed as the log's script
does it, and with changes for the audit log; rounds and versions on disk. 3. Ask for every screen, over and over, as
an operator's browser does. Redis' own file is off meanwhile: pages read.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.errors import HoneError
from feedback.events import Audit, Choice, Completion, encode, id_of
from serving.bench import invented_moderation, invented_rounds
from serving.bench.invented_moderation import InventedModeration
from serving.bench.invented_rounds import Invented
from serving.bench.load import quantile
from serving.bench.processes import gateway_alone
from serving.bench.report import machine
from serving.canary.store import Canaries
from serving.registry import Registry
from serving.stack.parts import Plan

if TYPE_CHECKING:
    import redis

_BATCH = 1_000
_NUM_CHANGES = 10_000
_POLICIES_A_CLASSIFIER = 4  # versions of the policy for one of moderation
_WAITING = 5_000  # sets in the labelers' queue


async def run(
    *,
    data_dir: Path,
    num_completions: int,
    num_versions: int,
    num_times: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report: a row for every screen, milliseconds."""
    async with gateway_alone(data_dir) as (plan, _):
        secret, made, classifiers, memory_mb = await asyncio.to_thread(
            _fill, plan, num_completions, num_versions, say
        )
        say("asking for the screens")
        rows = await _measure(plan, secret, screens(made, classifiers), num_times)
    return {
        "machine": machine(),
        "completions": num_completions,
        "versions": num_versions,
        "rounds": len(made.rounds),
        "redis_mb": memory_mb,
        "screens": rows,
    }


def _fill(
    plan: Plan, num_completions: int, num_versions: int, say: Callable[[str], None]
) -> tuple[str, Invented, InventedModeration, float]:
    from serving import auth

    with connect(plan.redis_url, timeout_s=60.0) as client:
        client.config_set("appendonly", "no")
        say(f"{num_versions} versions")
        registry = Registry(client)
        registry.ensure_base(str(plan.data_dir), "b" * 64)
        classifiers = invented_moderation.write(
            client, plan.data_dir, num_versions=num_versions // _POLICIES_A_CLASSIFIER
        )
        made = invented_rounds.write(client, plan.data_dir, num_versions=num_versions)
        Canaries(client).begin(
            registry.get(made.versions[-2]),
            live=registry.snapshot(),
            share=0.1,
            actor="key_bench",
            reason="bench",
        )
        say(f"{num_completions} completions")
        for number, batch in enumerate(_batches(num_completions)):
            _append(client, batch)
            if number and number % 100 == 0:
                say(f"{number * _BATCH} completions")
        for number in range(_NUM_CHANGES):
            eventlog.append(client, _change(number))
        queue = keys.queue("default", "rank")
        client.zadd(queue, {f"chatcmpl-{number}": number for number in range(_WAITING)})
        secret, _ = auth.create_key(client, name="bench", scopes=("admin",))
        return secret, made, classifiers, client.info("memory")["used_memory"] / 1e6


def _append(client: redis.Redis, batch: list[Completion]) -> None:
    """As the log's script appends, indexes and lists, without a look whether they are there already."""
    pipe = client.pipeline(transaction=False)
    for event in batch:
        pipe.xadd(keys.stream(Completion.kind), {"e": encode(event)})
    entries = pipe.execute()
    pipe = client.pipeline(transaction=False)
    for event, entry in zip(batch, entries, strict=True):
        pipe.hset(keys.index(Completion.kind), event.id, entry)
        for listing in eventlog.listings(event, event.metadata):
            pipe.zadd(listing, {event.id: 0})
    pipe.execute()


def _batches(count: int) -> Iterator[list[Completion]]:
    chance, began = random.Random(0), int(time.time() * 1000) - count
    choice = Choice(
        index=0,
        text="Put it into boiling water for six minutes.",
        token_ids=list(range(100, 112)),
        logprobs=[-0.5] * 12,
        finish_reason="stop",
    )
    messages = [{"role": "user", "content": "How do I boil an egg?"}]
    for first in range(0, count, _BATCH):
        yield [
            Completion(
                id=id_of("chatcmpl-", (began + number) << 80 | chance.getrandbits(80)),
                created=(began + number) / 1000,
                key_id="key_bench",
                tenant="default",
                endpoint="chat",
                request={"messages": messages},
                prompt_ids=list(range(8)),
                choices=[choice],
                version="policy-0001",
                version_last="policy-0001",
                digest="0" * 64,
                latency_ms=312.0,
                end_user=f"user-{number % 1000}",
            )
            for number in range(first, min(first + _BATCH, count))
        ]


def _change(number: int) -> Audit:
    return Audit(
        id=f"aud_{number}",
        created=time.time(),
        actor="key_bench",
        action="promote",
        detail={"version": "policy-0001", "reason": f"change no. {number}"},
    )


def screens(made: Invented, classifiers: InventedModeration) -> dict[str, str]:
    """Name and path of every screen."""
    names = ("policies", "canary", "moderation", "rewards", "labeling", "runs", "engines", "audit")
    return {
        "overview": "/console",
        **{name: f"/console/{name}" for name in names},
        "settings": "/console/settings",
        "policy": f"/console/policies/{made.versions[-1]}",
        "classifier": f"/console/moderation/{classifiers.versions[-1]}",
        "run": f"/console/runs/{made.active}",
        "refused run": f"/console/runs/{made.refused}",
        "lineage": "/console/lineage?of=production",
        "older versions": f"/console/policies?before={made.versions[len(made.versions) // 2]}",
    }


async def _measure(
    plan: Plan, secret: str, paths: dict[str, str], num_times: int
) -> list[dict[str, Any]]:
    took: dict[str, list[float]] = {name: [] for name in paths}
    sizes: dict[str, int] = {}
    jar = aiohttp.CookieJar(unsafe=True)  # the address has no name
    async with aiohttp.ClientSession(plan.url, cookie_jar=jar) as session:
        async with session.post("/console", data={"key": secret}) as entered:
            if entered.status != 200:
                raise HoneError(f"the console answered {entered.status} to its operator")
        for _ in range(num_times):
            for name, path in paths.items():
                began = time.perf_counter()
                async with session.get(path) as answer:
                    page = await answer.read()
                took[name].append((time.perf_counter() - began) * 1e3)
                if answer.status != 200 or b"<h1" not in page or b'id="login"' in page:
                    raise HoneError(f"{path} was answered {answer.status}")
                sizes[name] = len(page)
    return [
        {
            "target": name,
            "first_ms": times[0],
            "p50_ms": quantile(times, 0.5),
            "p95_ms": quantile(times, 0.95),
            "max_ms": max(times),
            "page_kb": sizes[name] / 1e3,
        }
        for name, times in took.items()
    ]
