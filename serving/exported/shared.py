"""What Redis knows: rounds, learning, queues, workers, webhooks, the log, and Redis itself.

Raises redis.RedisError while it is away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import redis

from feedback import keys
from serving.exported import rounds as of_rounds
from serving.exported.families import Sample
from serving.oversight import backlog, learning, rounds
from serving.oversight.round_files import RoundFiles
from serving.webhooks.store import Webhooks

_QUEUES = ("control", "train")


def samples(
    client: redis.Redis,
    files: RoundFiles,
    *,
    tenants: Collection[str],
    target_per_hour: int,
    log_keep_s: float,
) -> Iterator[Sample]:
    """All of it."""
    newest = rounds.newest(client, limit=of_rounds.LOOK_BACK)["data"]
    is_held = bool(client.exists(keys.ROUND_LEASE))
    yield from of_rounds.samples(newest, files, is_held=is_held)
    yield from _learning(learning.read(client))
    yield from _labels(backlog.read(client, tenants=tenants, target=target_per_hour))
    yield from _workers(client)
    yield from _webhooks(client)
    yield "hone_log_keep_seconds", (), log_keep_s
    yield from _log(client)
    yield from _redis(client)


def _learning(state: dict[str, Any]) -> Iterator[Sample]:
    yield "hone_learning_paused", (), float(state["paused"] is not None)
    yield "hone_judgements_new", (), float(state["new_judgements"])
    if state["starts_at"] is not None:
        yield "hone_judgements_wanted", (), float(state["starts_at"])


def _labels(waiting: dict[str, Any]) -> Iterator[Sample]:
    for task, count in waiting["queues"].items():
        yield "hone_labels_waiting", (task,), float(count)
    *_, last, _under_way = waiting["hours"]
    yield "hone_judgements_last_hour", (), float(last["judgements"])
    yield "hone_judgements_target", (), float(waiting["target_per_hour"])


def _workers(client: redis.Redis) -> Iterator[Sample]:
    pipe = client.pipeline(transaction=False)
    for queue in _QUEUES:
        pipe.exists(keys.worker_up(queue))
    pipe.exists(keys.CLOCK_UP)
    *workers, clock = pipe.execute()
    for queue, is_up in zip(_QUEUES, workers, strict=True):
        yield "hone_worker_up", (queue,), float(is_up)
    yield "hone_clock_up", (), float(clock)
    # A round's message leaves the queue when its work begins, which goes on for hours.
    is_wanted = client.exists(keys.ROUND_ACTIVE) or client.exists(keys.TRAIN_QUEUE)
    yield "hone_train_wanted", (), float(bool(is_wanted))


def _webhooks(client: redis.Redis) -> Iterator[Sample]:
    endpoints = Webhooks(client).list()
    pipe = client.pipeline(transaction=False)
    for endpoint in endpoints:
        pipe.zcard(keys.webhook_due(endpoint.id))
    yield "hone_webhook_pending", (), float(sum(pipe.execute()))
    failing = [e for e in endpoints if e.last_outcome and not e.last_outcome.startswith("2")]
    yield "hone_webhook_failing", (), float(len(failing))
    yield "hone_webhook_given_up", (), float(sum(e.num_failed for e in endpoints))


def _log(client: redis.Redis) -> Iterator[Sample]:
    pipe = client.pipeline(transaction=False)
    for kind in keys.KINDS:
        pipe.xinfo_stream(keys.stream(kind))
    for kind, found in zip(keys.KINDS, pipe.execute(raise_on_error=False), strict=True):
        if isinstance(found, redis.ResponseError):
            continue  # nothing of this kind was ever written
        if isinstance(found, Exception):
            raise found
        yield "hone_log_entries", (kind,), float(found["length"])
        if "entries-added" in found:
            yield "hone_log_events", (kind,), float(found["entries-added"])
        if found["first-entry"] is not None:
            written_ms = int(found["first-entry"][0].partition(b"-")[0])
            yield "hone_log_oldest_timestamp_seconds", (kind,), written_ms / 1e3


def _redis(client: redis.Redis) -> Iterator[Sample]:
    memory = client.info("memory")
    kept = client.info("persistence")
    yield "hone_redis_memory_bytes", (), float(memory["used_memory"])
    if memory.get("maxmemory"):
        yield "hone_redis_memory_max_bytes", (), float(memory["maxmemory"])
    if "aof_current_size" in kept:
        yield "hone_redis_aof_bytes", (), float(kept["aof_current_size"])
    persists = kept.get("aof_enabled") == 1 and kept.get("aof_last_write_status") == "ok"
    yield "hone_redis_persists", (), float(persists)
