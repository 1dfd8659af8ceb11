"""`hone bench swap`: the running stack changes its version, again and again, while streams are in flight.

1. Choose two versions of a kind; where there are no full weights, publish a copy of the base.
2. Keep streams of `num_tokens` going. Each swap is a promotion through the gateway; an adapter is
   unloaded before, so that every swap loads one.
3. Judge every stream: did it end whole, and do header, `model`, `system_fingerprint` and the log,
   which has the engine's own word, name the same version?
4. Put back what was live, and copy as many bytes in memory: the floor of any load.

The copy stays among the versions: a number is never reused, nor a folder removed that may be live.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import redis

from feedback import eventlog
from feedback.errors import NotFound, Unavailable
from feedback.events import Completion
from serving import artifact
from serving.bench.engine import find_engine
from serving.bench.load import Answer, Load, ask
from serving.bench.report import machine
from serving.bench.verdict import Swap, judged, spread_ms, timed
from serving.commands.options import post_as_admin, ready
from serving.registry import BASE, PREVIOUS, PRODUCTION, Live, PolicyRecord, Registry

_PROMPT = "Tell me a long story about a village by the sea, and about the people who live there."
_BLOCK_BYTES = 256 * 2**20
_ENGINE_LINE = re.compile(r"policy \S+ is loaded: \d+ ms, paused (\d+) ms")


async def run(
    client: redis.Redis,
    *,
    data_dir: Path,
    kind: str,
    num_swaps: int,
    num_streams: int,
    num_tokens: int,
    rest_s: float = 1.5,
    prompt: str = _PROMPT,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The report. `rest_s` passes before each swap, so that streams of the last version are in flight."""
    before = Registry(client).snapshot()
    records = _versions(Registry(client), kind, data_dir=data_dir)
    load = _load(data_dir, num_streams=num_streams, num_tokens=num_tokens, prompt=prompt)
    log = data_dir / "logs" / "engine.log"
    offset = log.stat().st_size if log.exists() else 0
    timeout, connector = aiohttp.ClientTimeout(total=330), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        answers: list[Answer] = []
        swaps: list[Swap] = []
        try:
            async with _traffic(session, load, answers):
                for number in range(num_swaps):
                    await asyncio.sleep(rest_s)
                    swaps.append(await _swap(session, load, records[number % 2], data_dir))
                    took_ms = (swaps[-1].ended - swaps[-1].began) * 1e3
                    say(f"{number + 1} of {num_swaps}: {swaps[-1].version}, {took_ms:.0f} ms")
            pauses_s = _engine_pauses_s(log, offset)
        finally:
            await _put_back(before, data_dir)
    probes = [swap.probe for swap in swaps]
    num_bytes = max(_weight_bytes(Path(record.path)) for record in records)
    return {
        "machine": machine(),
        "kind": kind,
        "versions": [record.version for record in records],
        "swaps": len(swaps),
        **judged(answers, _engine_said(client, answers), num_tokens=num_tokens),
        "probes": judged(probes, _engine_said(client, probes), num_tokens=1),
        **timed(answers, swaps),
        "engine_pause_ms": spread_ms(pauses_s) if pauses_s else "the engine's log is not here",
        "weight_bytes": num_bytes,
        "memory_copy_floor_ms": memory_copy_s(num_bytes) * 1e3,
    }


def pair(live: Live, kind: str) -> list[PolicyRecord]:
    """The two newest of a kind, the one in production last. The base makes up for a second one;
    it is loaded at all times where the kind is adapter, so that every other swap loads nothing."""
    newest = sorted(live.policies.values(), key=lambda record: record.version, reverse=True)
    two = [record for record in newest if record.kind == kind][:2]
    if len(two) == 1:
        two.append(live.policies[BASE])
    return sorted(two, key=lambda record: record.version == live.aliases.get(PRODUCTION))


def memory_copy_s(num_bytes: int) -> float:
    """Seconds to copy so many bytes within memory by one thread, the median of five copies."""
    block = max(1, min(num_bytes, _BLOCK_BYTES))
    source, target = bytearray(b"\x5a") * block, bytearray(b"\xa5") * block
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        memoryview(target)[:] = source
        took_s.append(time.perf_counter() - began)
    return sorted(took_s)[2] * num_bytes / block


def _versions(registry: Registry, kind: str, *, data_dir: Path) -> list[PolicyRecord]:
    """Raises NotFound where there is no adapter."""
    live = registry.snapshot()
    if not (found := pair(live, kind)):
        if kind == "adapter":
            raise NotFound("no adapter is published here: `hone demo` makes one, or take --full")
        _publish_copy(registry, live.policies[BASE], data_dir=data_dir)
        found = pair(registry.snapshot(), kind)
    return found


def _publish_copy(registry: Registry, base: PolicyRecord, *, data_dir: Path) -> None:
    """The base's weights, as full weights of a version of their own."""
    version = registry.next_version()
    target = (data_dir / "policies" / version).resolve()
    partial = target.with_name(f".{version}.partial")
    partial.mkdir(parents=True)
    for file in Path(base.path).glob("*.safetensors"):
        shutil.copy(file, partial)
    lineage = {"made_by": "hone bench swap"}
    manifest = artifact.write_manifest(
        partial,
        version=version,
        kind="full",
        parent=BASE,
        base_digest=base.digest,
        lineage=lineage,
    )
    partial.rename(target)
    record = PolicyRecord(
        version=version,
        kind="full",
        path=str(target),
        digest=manifest.digest,
        parent=BASE,
        created=manifest.created,
    )
    registry.add(record)


def _load(data_dir: Path, *, num_streams: int, num_tokens: int, prompt: str) -> Load:
    stack = ready(data_dir)
    body = {
        "model": "policy",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": num_tokens,
        "min_tokens": num_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": True,
    }
    headers = {"authorization": f"Bearer {stack['api_key']}", "content-type": "application/json"}
    return Load(url=stack["url"], headers=headers, bodies=[body], concurrency=num_streams)


@contextlib.asynccontextmanager
async def _traffic(
    session: aiohttp.ClientSession, load: Load, answers: list[Answer]
) -> AsyncIterator[None]:
    """Streams that follow one another until the end; those in flight then are waited for."""
    is_over = asyncio.Event()

    async def slot() -> None:
        while not is_over.is_set():
            answers.append(await ask(session, load, load.bodies[0]))
            if answers[-1].error:
                await asyncio.sleep(0.2)  # a refusal is quick; it must not become a flood

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency):
            group.create_task(slot())
        try:
            yield
        finally:
            is_over.set()


async def _swap(
    session: aiohttp.ClientSession, load: Load, record: PolicyRecord, data_dir: Path
) -> Swap:
    if record.kind == "adapter":
        engine, _ = await find_engine(data_dir, session)
        if record.version in {entry["version"] for entry in (await engine.policy())["loaded"]}:
            await engine.unload(record.version)
    short = load.bodies[0] | {"max_tokens": 1, "min_tokens": 1}
    before = await ask(session, load, short)
    began = time.perf_counter()
    await _promote(record.version, data_dir)
    ended = time.perf_counter()
    probe = await ask(session, load, short)
    return Swap(version=record.version, began=began, ended=ended, before=before, probe=probe)


async def _promote(version: str, data_dir: Path) -> None:
    path = f"/admin/policies/{quote(version)}/promote"
    why = {"reason": "hone bench swap", "override": "hone bench swap"}
    await asyncio.to_thread(post_as_admin, path, data_dir=data_dir, body=why)


async def _put_back(before: Live, data_dir: Path) -> None:
    """Production as it was, and previous, so that a rollback means what it meant."""
    for alias in (PREVIOUS, PRODUCTION):
        if (version := before.aliases.get(alias)) is not None:
            with contextlib.suppress(Unavailable):  # whatever broke the stack is the error to show
                await _promote(version, data_dir)


def _engine_said(client: redis.Redis, answers: Sequence[Answer]) -> dict[str, tuple[str, str]]:
    """Out of the log: id -> the version that made the first token, and the last."""
    found = [eventlog.get(client, "completions", answer.id) for answer in answers if answer.id]
    return {e.id: (e.version, e.version_last) for e in found if isinstance(e, Completion)}


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _engine_pauses_s(log: Path, offset: int) -> list[float]:
    """What the engine wrote since of each load: how long it generated nothing."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(offset)
        found = _ENGINE_LINE.findall(file.read().decode(errors="replace"))
    return [int(paused_ms) / 1e3 for paused_ms in found]
