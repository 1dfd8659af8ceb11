"""A gateway with a second version, and people who ask it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2

from serving.registry import PolicyRecord, Registry
from tests.serving.conftest import Running

NEW = "policy-0001"
WHY = {"override": "a test"}


def publish(gateway: Running, version: str = NEW, **fields: Any) -> PolicyRecord:
    """A version that passed a gate."""
    record = PolicyRecord(
        **{
            "version": version,
            "kind": "adapter",
            "path": f"/policies/{version}",
            "digest": version[-1] * 64,
            "parent": "policy-0000",
            "round_id": "round-0001",
            "created": time.time(),
            **fields,
        }
    )
    Registry(gateway.redis).add(record)
    return record


def call(gateway: Running, method: str, path: str, body: Any = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {gateway.admin_secret}"}
    return httpx2.request(method, gateway.url + path, json=body, headers=headers, timeout=100)


def begin(gateway: Running, version: str = NEW, **body: Any) -> httpx2.Response:
    return call(gateway, "POST", f"/admin/policies/{version}/canary", {"share": 0.5, **body})


def overview(gateway: Running) -> Any:
    return call(gateway, "GET", "/admin/canary").json()


def ask(gateway: Running, user: str | None, model: str = "policy", **options: Any) -> Any:
    """An answer with its headers. `user` None: nobody is named."""
    named = {} if user is None else {"user": user}
    return gateway.openai().chat.completions.with_raw_response.create(
        **{
            "model": model,
            "messages": [{"role": "user", "content": f"hello from {user}"}],
            **named,
            **options,
        }
    )


def answers_by(gateway: Running, users: list[str]) -> dict[str, str]:
    """user -> version."""
    return {user: ask(gateway, user).headers["x-policy-version"] for user in users}


def wait_until(is_so: Callable[[], bool], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
