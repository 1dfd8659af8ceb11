"""Redis writes its files anew: what it has forgotten is in its append-only file until then.

Some hosts of Redis forbid these commands. Then what is to be done is said, not that it was done.
"""

from __future__ import annotations

import time
from typing import Any, cast

import redis

from feedback import keys
from feedback.errors import Unavailable

_LOOK_EVERY_S = 0.05
_TIMEOUT_S = 600.0  # a rewrite of many GB
_BUSY = "in progress"


def rewrite(client: redis.Redis) -> dict[str, str]:
    """Returns what became of the append-only file, the RDB file and the slow log, which quotes commands.
    Raises Unavailable when Redis fails at it, or does not get ready."""
    stale_since = client.getdel(keys.AOF_STALE)
    try:
        found = {"aof": _aof(client), "rdb": _rdb(client), "slowlog": _slow_log(client)}
    except (redis.RedisError, Unavailable):
        if stale_since is not None:
            client.set(keys.AOF_STALE, cast(bytes, stale_since), nx=True)
        raise
    return found


def is_due(client: redis.Redis, *, after_s: float, now: float) -> bool:
    """Whether what was erased has been in the files for so long."""
    since = cast("bytes | None", client.get(keys.AOF_STALE))
    return since is not None and now - float(since) >= after_s


def _aof(client: redis.Redis) -> str:
    if not _persistence(client)["aof_enabled"]:
        return "there is none"
    try:
        _start(client, lambda: client.bgrewriteaof())
    except redis.ResponseError as error:
        return f"not rewritten, Redis refuses: {error}"
    after = _until_idle(client)
    if after["aof_last_bgrewrite_status"] != "ok":
        raise Unavailable("Redis could not rewrite its append-only file; is its disk full?")
    return "rewritten"


def _rdb(client: redis.Redis) -> str:
    try:
        is_saved = bool(cast("dict[str, str]", client.config_get("save")).get("save"))
        if not is_saved and not _persistence(client).get("rdb_saves"):
            return "there is none"
        _start(client, lambda: client.bgsave())
    except redis.ResponseError as error:
        return f"not written anew, Redis refuses: {error}"
    if _until_idle(client)["rdb_last_bgsave_status"] != "ok":
        raise Unavailable("Redis could not write its RDB file; is its disk full?")
    return "written anew"


def _slow_log(client: redis.Redis) -> str:
    try:
        client.slowlog_reset()
    except redis.ResponseError as error:
        return f"not emptied, Redis refuses: {error}"
    return "emptied"


def _start(client: redis.Redis, command: Any) -> None:
    """Not the one that runs already: it began before what is to be gone was gone."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        _until_idle(client)
        try:
            command()
        except redis.ResponseError as error:
            if _BUSY not in str(error) or time.monotonic() > deadline:
                raise
        else:
            return


def _until_idle(client: redis.Redis) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    while any((state := _persistence(client))[name] for name in busy):
        if time.monotonic() > deadline:
            raise Unavailable("Redis has been writing its files for ten minutes; try again later")
        time.sleep(_LOOK_EVERY_S)
    return state


def _persistence(client: redis.Redis) -> dict[str, Any]:
    return client.info("persistence")
