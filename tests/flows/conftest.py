"""One real stack for all flows: `hone up` with a tiny model, a real vLLM, Redis, Celery, moderation."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import redis

from tests.conftest import free_port
from tests.serving.otlp_collector import Collector
from tests.tiny_model import write_tiny_model
from training.config import RECIPES
from training.demo_people import Person


@dataclass
class Stack:
    """A running `hone up`."""

    folder: Path  # its --data
    model: Path  # its --model
    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.ready["redis_url"])

    def pid(self, part: str) -> int:
        """The part's process at this moment: `hone up` writes it anew after a restart."""
        return int(json.loads((self.folder / "ready.json").read_text())["pids"][part])

    def log(self, part: str) -> str:
        path = self.folder / "logs" / f"{part}.log"
        return path.read_text()[-4000:] if path.exists() else ""

    async def rank_all(self, *, prompts: list[str], prefer: Callable[[str], float]) -> int:
        """Ask every prompt with n = 4 and rank the answers by `prefer`. Returns how many were ranked."""
        async with aiohttp.ClientSession() as session:
            person = Person(session, url=self.url, key=self.ready["api_key"])

            async def ask(number: int, prompt: str) -> None:
                await person.ask(prompt, n=4, max_tokens=8, temperature=1.0, user=f"u{number % 9}")

            await asyncio.gather(*(ask(number, prompt) for number, prompt in enumerate(prompts)))
            ranked = 0
            while item := await person.get("/v1/feedback/assignments/next?labeler=lea"):
                scores = [prefer(c["text"]) for c in item["candidates"]]
                order = sorted(range(len(scores)), key=lambda i: -scores[i])
                body = {
                    "candidates": [
                        {"completion_id": c["completion_id"], "index": c["index"]}
                        for c in item["candidates"]
                    ],
                    "tiers": [[chr(ord("a") + i)] for i in order],
                    "labeler": "lea",
                }
                await person.post("/v1/feedback/rankings", body)
                ranked += 1
            return ranked

    def hone(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI against this stack."""
        return subprocess.run(
            [sys.executable, "-m", "training", *arguments, "--data", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )


def write_recipe(path: Path, *, rest: dict[str, str] | None = None, **gate: float) -> Path:
    """The tiny recipe with other limits of its gate, and, in `rest`, other lines before it."""
    before, limits = (RECIPES / "tiny.toml").read_text().split("[gate]")
    for name, value in gate.items():
        limits, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", limits)
        assert count == 1, name
    for line, other in (rest or {}).items():
        assert line in before, line
        before = before.replace(line, other)
    path.write_text(f"{before}[gate]{limits}")
    return path


# Limits that any candidate keeps: a random model learns nothing to speak of.
OPEN = {
    "min_win_rate": 0.0,
    "max_kl_nats": 1e6,
    "min_reward_accuracy": 0.0,
    "max_flagged_increase": 1.0,
    "max_perplexity_ratio": 1e6,
    "min_length_ratio": 0.0,
    "max_length_ratio": 1e6,
    "max_kl_incumbent_nats": 1e6,
    "max_refusal_increase": 1.0,
    "max_repetition_increase": 1.0,
    "max_entropy_ratio": 1e6,
    "max_engine_gap_nats": 1e6,
}


def start_stack(folder: Path, model: Path, **environment: str) -> Stack:
    """`hone up`, until it says that it is ready."""
    command = [sys.executable, "-m", "training", "up", "--port", str(free_port())]
    command += ["--data", str(folder), "--model", str(model)]
    with (folder.parent / "up.log").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | environment,
            start_new_session=True,
        )
    deadline = time.monotonic() + 540
    while not (folder / "ready.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail((folder.parent / "up.log").read_text()[-4000:])
        time.sleep(0.2)
    return Stack(
        folder=folder,
        model=model,
        process=process,
        ready=json.loads((folder / "ready.json").read_text()),
    )


def stop_stack(stack: Stack) -> float:
    """SIGTERM. Returns the seconds until it and all it started were gone; fails if anything is left."""
    family = psutil.Process(stack.process.pid).children(recursive=True)
    started = time.monotonic()
    stack.process.send_signal(signal.SIGTERM)
    stack.process.wait(timeout=100)
    _, alive = psutil.wait_procs(family, timeout=1)
    left = [process for process in alive if _runs(process)]
    assert not left, f"left behind: {left}"
    return time.monotonic() - started


def _runs(process: psutil.Process) -> bool:
    """A zombie does not: it has ended, and waits for this machine's init to take note."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    served = Collector()
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, collector: Collector
) -> Iterator[Stack]:
    """Its spans go to `collector`."""
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path_factory.mktemp("stack") / "data"
    running = start_stack(
        folder,
        tiny_model,
        HONE_TRAINING_RECIPE="tiny",
        HONE_SERVING_MAX_MODEL_LEN="256",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",
    )
    yield running
    stop_stack(running)
