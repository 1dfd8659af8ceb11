"""`hone up`: everything on this machine, in one terminal.

1. lock the data folder, check ports, disk, Redis and memory: refuse before anything is started
2. have the model (first time: unpack and convert it)
3. start the parts and watch them
4. when all are ready: register the keys, write ready.json, say how to use it
5. on Ctrl-C or SIGTERM stop all of it
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from rich.console import Console

from feedback import keys
from feedback.connection import connect
from feedback.labeling.labelers import Invite, new_invite
from serving import auth
from serving.stack import model, parts, preflight
from serving.stack.dashboard import Dashboard, making_model
from serving.stack.preflight import CannotStart
from serving.stack.supervisor import Supervisor, Watched

REFRESH_S = 0.5
_LOCAL_REQUESTS_PER_MINUTE = 100_000  # one person's machine: the model is the limit, not the key


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asked for on the command line."""

    data_dir: Path
    host: str
    port: int
    model: str | None  # folder or hub name; None: the default model
    redis_url: str | None  # None: start one


def up(wish: Wish, *, console: Console) -> None:
    """Runs until it is told to stop. Raises CannotStart before anything is started."""
    data_dir = wish.data_dir.expanduser().resolve()
    # Before anything is written there, be it a lock.
    preflight.check_disk(data_dir, needed_bytes=preflight.ROOM_BYTES, purpose="the log")
    with preflight.hold_data(data_dir):
        ready_file = data_dir / "ready.json"
        ready_file.unlink(missing_ok=True)  # of an `up` that was killed
        _check(wish, data_dir)
        with making_model(console) as progress:
            base_model = model.prepare(wish.model, data_dir=data_dir, progress=progress)
        check_memory(base_model)
        plan = parts.plan(
            data_dir=data_dir,
            base_model=base_model,
            host=wish.host,
            port=wish.port,
            redis_url=wish.redis_url,
        )
        try:
            asyncio.run(_Stack(plan, console=console, ready_file=ready_file).run())
        finally:
            ready_file.unlink(missing_ok=True)


def check_memory(base_model: Path) -> None:
    """On a GPU weights and KV cache are not in this memory."""
    if shutil.which("nvidia-smi"):
        preflight.check_memory(0, kv_cache_bytes=0)
        return
    kv_cache_gib = float(os.environ.get("HONE_SERVING_KV_CACHE_GIB", "1"))
    preflight.check_memory(
        model.num_weight_bytes(base_model), kv_cache_bytes=int(kv_cache_gib * preflight.GIB)
    )


def _check(wish: Wish, data_dir: Path) -> None:
    preflight.check_libraries()
    preflight.check_port(wish.host, wish.port)
    if wish.redis_url is None:
        preflight.redis_binary()
        return
    try:
        connect(wish.redis_url, timeout_s=3.0).ping()
    except (redis.RedisError, ValueError) as error:
        raise CannotStart(
            f"Redis at {wish.redis_url} does not answer ({error}): start it, or unset "
            "HONE_FEEDBACK_REDIS_URL and one is started for you"
        ) from None


class _Stack:
    """One run: the supervisor, what is shown, and ready.json."""

    def __init__(self, plan: parts.Plan, *, console: Console, ready_file: Path) -> None:
        self._plan = plan
        self._console = console
        self._ready_file = ready_file
        self._dashboard = Dashboard(console)
        self._stopping = asyncio.Event()
        self._announced = False
        self._label_url = f"{plan.url}/label"
        self._supervisor = Supervisor(
            parts.parts(plan),
            stack=plan.stack,
            environment=parts.environment(plan),
            log_dir=plan.data_dir / "logs",
            on_change=self._changed,
        )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        with self._dashboard.shown():
            async with self._supervisor as supervisor:
                await self._look_during(supervisor.run(self._stopping))
                self._ready_file.unlink(missing_ok=True)
                await self._look_during(supervisor.stop())
        self._console.print("Stopped.")

    def _stop(self) -> None:
        """The first Ctrl-C stops in order, the second at once."""
        if self._stopping.is_set():
            self._supervisor.forced = True
            return
        self._stopping.set()
        self._console.print("Stopping (again: at once) …")

    async def _look_during(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        while not task.done():
            self._look()
            await asyncio.wait({task}, timeout=REFRESH_S)
        task.result()
        self._look()

    def _look(self) -> None:
        self._dashboard.refresh(self._supervisor.watched.values())
        if self._stopping.is_set():
            return
        if self._supervisor.all_ready and not self._announced and self._register_keys():
            self._announced = True
            self._write_ready_file()
            self._announce()

    def _changed(self, watched: Watched) -> None:
        self._dashboard.changed(watched)
        if self._announced and not self._stopping.is_set():
            self._write_ready_file()

    def _register_keys(self) -> bool:
        """False when Redis is away at this very moment; asked again at the next look."""
        try:
            with connect(self._plan.redis_url) as client:
                for key, name, scopes in (
                    (self._plan.secrets.api_key, "local", ("infer", "label")),
                    (self._plan.secrets.admin_key, "local admin", ("infer", "label", "admin")),
                ):
                    auth.ensure_key(
                        client,
                        key,
                        name=name,
                        scopes=scopes,
                        requests_per_minute=_LOCAL_REQUESTS_PER_MINUTE,
                    )
                if not client.hlen(keys.LABELERS):
                    self._invite(client)
        except redis.RedisError:
            return False
        return True

    def _invite(self, client: redis.Redis) -> None:
        """Whoever starts this may label at once: a link for the first labeler, good for a day."""
        expires = time.time() + 86_400
        terms = Invite(
            tenant="default", is_heldout=False, is_trusted=True, expires=expires, by="hone up"
        )
        token, field, value = new_invite(terms)
        client.hset(keys.INVITES, field, value)
        self._label_url = f"{self._plan.url}/label/join/{token}"

    def _write_ready_file(self) -> None:
        ready = {
            "url": self._plan.url,
            "api_key": self._plan.secrets.api_key,
            "admin_key": self._plan.secrets.admin_key,
            "label_url": self._label_url,
            "redis_url": self._plan.redis_url,
            "pids": self._supervisor.pids(),
        }
        parts.write_private(self._ready_file, json.dumps(ready, indent=2))

    def _announce(self) -> None:
        url, key = self._plan.url, self._plan.secrets.api_key
        curl = (
            f"curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'content-type: application/json' "
            """-d '{"model": "policy", "messages": [{"role": "user", "content": "Hello"}]}'"""
        )
        for line in (
            "",
            f"[bold green]Ready[/] at [bold]{url}[/]   OpenAI clients: base_url={url}/v1",
            f"Talk to it  {url}/",
            f"API key     {key}",
            f"Try it      {curl}",
            f"Label       {self._label_url}",
            f"Logs        {self._plan.data_dir / 'logs'}",
            "",
        ):
            self._console.print(line, highlight=False, soft_wrap=True)
