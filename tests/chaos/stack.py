"""A gateway with its outbox, Redis on disk, and the bench's mock in place of vLLM: processes to kill."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from serving import parts
from tests.conftest import RedisServer, free_port

PACE_MS = 20


class Stack:
    """The processes, and where they are."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.redis = redis
        self.plan = parts.plan(
            data_dir=folder,
            base_model=folder,
            host="127.0.0.1",
            port=free_port(),
            redis_url=redis.url,
        )
        self._mock_url = f"http://127.0.0.1:{self.plan.engine_port}"
        self._environment = parts.environment(self.plan) | {
            "HONE_SERVING_MODERATION_URL": self._mock_url,
            "HONE_SERVING_DEFAULT_REQUESTS_PER_MINUTE": "1000000",
            "HONE_SERVING_DEFAULT_TOKENS_PER_MINUTE": "100000000",
        }
        self._log = (folder / "parts.log").open("ab")
        self.mock, self.gateway = self._start_mock(), self._start_gateway()

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

    def stop(self) -> None:
        for process in (self.gateway, self.mock):
            process.kill()
            process.wait()
        self._log.close()

    def _start_mock(self) -> subprocess.Popen[bytes]:
        return self._start("serving.bench.mock", str(self.plan.engine_port), str(PACE_MS))

    def _start_gateway(self) -> subprocess.Popen[bytes]:
        return self._start("serving", "gateway")

    def _start(self, *module: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )


async def ready(stack: Stack) -> None:
    """Until the gateway says that it would answer."""
    deadline = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{stack.plan.url}/readyz") as response:
                    if (await response.json())["status"] == "ready":
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("not ready, or events wait in the outbox, after 60 s")
