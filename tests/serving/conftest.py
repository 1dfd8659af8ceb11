"""A gateway under uvicorn, with stand-ins behind it and a real Redis."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
import redis
import uvicorn
from fastapi import FastAPI

from feedback.settings import FeedbackSettings
from moderation.settings import ModerationSettings
from serving import auth
from serving.app import create_app
from serving.settings import ServingSettings
from tests.serving.fake_engine import TOKEN, FakeEngine
from tests.serving.fake_moderation import FakeModeration

T = TypeVar("T")


class Server(uvicorn.Server):
    """Knows the event loop it runs on."""

    loop: asyncio.AbstractEventLoop

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().serve(sockets)


class Running:
    """A gateway on a port, its keys, and a client of its Redis."""

    def __init__(self, app: FastAPI, client: redis.Redis) -> None:
        self.app = app
        self.redis = client
        self._clients: list[openai.OpenAI] = []
        self.secret, self.key = auth.create_key(client, name="app", scopes=("infer",))
        self.admin_secret, _ = auth.create_key(client, name="op", scopes=("infer", "admin"))
        self.label_secret, self.label_key = auth.create_key(client, name="lab", scopes=("label",))
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", lifespan="on")
        self.server = Server(config)
        self._thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 120
        while not self.server.started:
            assert time.monotonic() < deadline, "the gateway did not start"
            assert self._thread.is_alive(), "the gateway died while starting"
            time.sleep(0.01)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self.server.should_exit = True
        self._thread.join(15)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done by the gateway's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.server.loop).result(20)

    def openai(self, key: str | None = None, **options: Any) -> openai.OpenAI:
        options = {"max_retries": 0, "timeout": 20, **options}
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.secret, **options)
        self._clients.append(client)
        return client


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    served = FakeEngine()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def moderation() -> Iterator[FakeModeration]:
    served = FakeModeration()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def start_gateway(moderation: FakeModeration, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a gateway; options are settings. Stopped at the test's end."""
    started: list[tuple[Running, redis.Redis]] = []

    def start(redis_url: str, *engines: FakeEngine, **options: Any) -> Running:
        settings = ServingSettings(
            data_dir=tmp_path,
            engine_urls=tuple(engine.url for engine in engines),
            engine_token=TOKEN,
            moderation_url=moderation.url,
            **{"engine_wait_s": 3.0, **options},
        )
        feedback = FeedbackSettings(
            redis_url=redis_url,
            outbox_path=tmp_path / f"outbox{len(started)}.sqlite",
        )
        client = redis.Redis.from_url(redis_url)
        running = Running(create_app(settings, feedback, ModerationSettings()), client)
        running.start()
        started.append((running, client))
        return running

    yield start
    for running, client in started:
        running.stop()
        client.close()


@pytest.fixture
def gateway(start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine) -> Running:
    return start_gateway(redis_url, engine)
