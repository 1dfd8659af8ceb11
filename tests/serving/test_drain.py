"""An engine that is about to end: our endpoint in a server of its own, asked as Kubernetes and gateways ask."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner

from serving.engines import WANTED_HEADER
from serving.in_vllm.policy_endpoint import PolicyEndpoint
from serving.settings import ServingSettings
from tests.conftest import free_port
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

TOKEN = "engine-token-of-the-tests"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


class Answering:
    """vLLM's place: a chat route whose answers end when they are let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.begun = threading.Event()

    async def answer(self, _request: Request) -> JSONResponse:
        self.begun.set()
        while not self.let_go.is_set():
            await asyncio.sleep(0.01)
        return JSONResponse({"choices": []})


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def url(answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    port = free_port()
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", TOKEN)
    monkeypatch.setenv("HONE_SERVING_ENGINE_PORT", str(port))
    monkeypatch.setenv("HONE_SERVING_ENGINE_HOST", "0.0.0.0")
    monkeypatch.setenv("HONE_SERVING_BASE_MODEL", str(tmp_path))
    app = Starlette(routes=[Route("/v1/chat/completions", answering.answer, methods=["POST"])])
    parallel = SimpleNamespace(world_size_across_dp=1)
    config = SimpleNamespace(weight_transfer_config=None, parallel_config=parallel)
    app.state.engine_client = SimpleNamespace(errored=False, vllm_config=config)
    app.add_middleware(PolicyEndpoint)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    answering.let_go.set()
    server.should_exit = True
    thread.join(20)


def look(url: str, *, wanted: str | None = None) -> dict[str, Any]:
    told = {WANTED_HEADER: wanted} if wanted else {}
    found: dict[str, Any] = httpx2.get(f"{url}/policy", headers=AUTHORIZED | told).json()
    return found


def ask(url: str) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/chat/completions", headers=AUTHORIZED, json={}, timeout=400)


def test_an_engine_is_ready_once_it_has_what_a_gateway_wants(url: str) -> None:
    assert httpx2.get(f"{url}/readyz").status_code == 503
    look(url, wanted="policy-0007")
    answer = httpx2.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "policy-0007 is not loaded"})
    look(url, wanted="policy-0000")
    assert httpx2.get(f"{url}/readyz").status_code == 200


def test_hone_drain_waits_for_answers_under_way_and_lets_none_begin(
    url: str, answering: Answering
) -> None:
    from serving.in_vllm.drain import drain

    look(url, wanted="policy-0000")
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(ask, url)
        assert answering.begun.wait(60)
        draining = pool.submit(drain, ServingSettings(), wait_s=60)
        while not look(url)["draining"]:
            time.sleep(0.01)
        refused = ask(url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "policy_not_loaded")
        assert httpx2.get(f"{url}/readyz").status_code == 503
        assert not draining.done()
        answering.let_go.set()
        assert under_way.result(60).status_code == 200
        assert draining.result(60) is True


def test_hone_drain_says_when_answers_are_left(url: str, answering: Answering) -> None:
    from serving.cli import app

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, url)
        assert answering.begun.wait(60)
        done = CliRunner().invoke(app, ["drain", "--wait-s", "0"])
        assert (done.exit_code, "still under way" in done.output) == (1, True)
        answering.let_go.set()
        assert under_way.result(60).status_code == 200


def test_strangers_cannot_drain_it(url: str) -> None:
    answer = httpx2.post(f"{url}/policy/drain", content=json.dumps({"wait_s": 0}))
    assert answer.status_code == 401
    assert look(url)["draining"] is False


def test_gateways_send_an_engine_that_drains_nothing_more(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    other = FakeEngine()
    other.start()
    try:
        gateway = start_gateway(redis_url, engine, other)
        engine.is_draining = True
        while engine.num_looks_draining < 2:
            time.sleep(0.05)
        before = len(engine.bodies)
        for _ in range(6):
            answer = gateway.openai().chat.completions.create(
                model="policy", messages=[{"role": "user", "content": "hello there"}]
            )
            assert answer.choices
        assert (len(engine.bodies), len(other.bodies)) == (before, 6)
        assert engine.wanted == "policy-0000"
    finally:
        other.stop()
