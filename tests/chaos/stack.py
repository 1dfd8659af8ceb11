"""A gateway with its outbox, Redis on disk, and the bench's mock in place of vLLM: processes to kill."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from serving.stack import parts
from tests.conftest import RedisServer, free_port

PACE_MS = 20
HELLO = {"model": "policy", "messages": [{"role": "user", "content": "Hello"}]}


class Stack:
    """The processes, and where they are."""

    def __init__(
        self, folder: Path, redis: RedisServer, *, pace_ms: int = PACE_MS, **settings: Any
    ) -> None:
        """`settings`: of the gateway, as `serving_max_in_flight=500`."""
        self.redis = redis
        self._pace_ms = pace_ms
        self.plan = parts.plan(
            data_dir=folder,
            base_model=folder,
            host="127.0.0.1",
            port=free_port(),
            redis_url=redis.url,
        )
        self.mock_url = f"http://127.0.0.1:{self.plan.engine_port}"
        self._environment = parts.environment(self.plan) | {
            "HONE_SERVING_MODERATION_URL": self.mock_url,
            "HONE_SERVING_DEFAULT_REQUESTS_PER_MINUTE": "1000000",
            "HONE_SERVING_DEFAULT_TOKENS_PER_MINUTE": "100000000",
            **{f"HONE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._log = (folder / "parts.log").open("ab")
        self.mock, self.gateway = self._start_mock(), self._start_gateway()
        self.archiver: subprocess.Popen[bytes] | None = None  # when it is started

    def kill_gateway(self) -> None:
        self.gateway.kill()
        self.gateway.wait()
        self.gateway = self._start_gateway()

    def kill_engine(self) -> None:
        self.mock.kill()
        self.mock.wait()
        self.mock = self._start_mock()

    def kill_redis(self) -> None:
        self.redis.stop(kill=True)
        time.sleep(0.5)
        self.redis.start()

    def kill_archiver(self) -> None:
        if self.archiver is not None:
            self.archiver.kill()
            self.archiver.wait()

    def start_archiver(self) -> None:
        """It archives without a pause what is two minutes old: until then a retry is not looked up."""
        if self.archiver is None or self.archiver.poll() is not None:
            self.archiver = self._start("tests.chaos.archiving", "0")

    def stop(self) -> None:
        for process in (self.gateway, self.mock, self.archiver):
            if process is not None:
                process.kill()
                process.wait()
        self._log.close()

    def _start_mock(self) -> subprocess.Popen[bytes]:
        return self._start("serving.bench.mock", str(self.plan.engine_port), str(self._pace_ms))

    def _start_gateway(self) -> subprocess.Popen[bytes]:
        return self._start("serving", "gateway")

    def _start(self, *module: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )


async def ready(url: str) -> None:
    """Until the gateway says that it would answer, and nothing waits in its outbox."""
    deadline = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{url}/readyz") as response:
                    if (await response.json())["status"] == "ready":
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("not ready, or events wait in the outbox, after 60 s")


async def latencies(stack: Stack, key: str, *, count: int) -> list[float]:
    """Seconds of so many requests, four at a time."""
    headers = {"authorization": f"Bearer {key}"}
    turn, took = asyncio.Semaphore(4), []
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask() -> None:
            async with turn:
                began = time.monotonic()
                url = f"{stack.plan.url}/v1/chat/completions"
                async with session.post(url, json=HELLO) as response:
                    response.raise_for_status()
                    await response.read()
                took.append(time.monotonic() - began)

        await asyncio.gather(*(ask() for _ in range(count)))
    return sorted(took)


def shown(times_s: list[float]) -> str:
    """p50/p99 of sorted seconds, in milliseconds."""
    p50, p99 = times_s[len(times_s) // 2], times_s[int(len(times_s) * 0.99)]
    return f"{1e3 * p50:.1f}/{1e3 * p99:.1f}"


def http_request(key: str, body: dict[str, Any]) -> bytes:
    """A chat request as it goes over a bare socket."""
    data = orjson.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def rss_bytes(process: subprocess.Popen[bytes]) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
