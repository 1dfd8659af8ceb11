"""What webhooks are posted to: a real server that remembers, and answers as it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from aiohttp import web

from feedback import eventlog
from feedback.events import Audit, RoundChanged, new_id
from tests.serving.fake_engine import Served


@dataclass(frozen=True, kw_only=True)
class Post:
    path: str
    headers: dict[str, str]  # lower case
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


class Receiver(Served):
    def __init__(self) -> None:
        super().__init__()
        self.posts: list[Post] = []
        self.answers: dict[str, list[int]] = {}  # path -> the next statuses; then 200
        self.hanging: set[str] = set()  # paths that do not answer
        self.delay_s = 0.0

    def routes(self) -> None:
        self.app.router.add_post("/{path}", self._take)
        self.app.router.add_get("/{path}", self._take)  # how a redirect would be followed

    def at(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path == path]

    async def _take(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append(Post(path=path, headers=headers, body=await request.read()))
        await asyncio.sleep(60 if path in self.hanging else self.delay_s)
        waiting = self.answers.get(path, [])
        return web.Response(
            status=waiting.pop(0) if waiting else 200, headers={"location": "/elsewhere"}
        )


def log_promotion(client: redis.Redis, version: str, *, action: str = "promote") -> Audit:
    """As the gateway writes it when an operator promotes."""
    audit = Audit(
        id=new_id("aud_"),
        created=time.time(),
        actor="key_op",
        action=action,
        detail={"version": version},
    )
    eventlog.append(client, audit)
    return audit


def round_ended(what: str, **detail: Any) -> RoundChanged:
    return RoundChanged(
        id=new_id("rnd_"), created=time.time(), round_id="round-0007", what=what, detail=detail
    )


def wait_until(holds: Callable[[], object], *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
