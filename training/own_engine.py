"""An engine for as long as a command runs, where the person names none."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feedback.errors import Unavailable
from serving.stack.local import check_memory
from serving.stack.parts import Part
from serving.stack.preflight import choose_port
from serving.stack.probes import engine_serves, http_ok
from serving.stack.supervisor import Supervisor
from training.config import AdapterRecipe, ModelRecipe

_PORT = 8100
_START_S = 400.0
_MAX_RESTARTS = 2  # before it was ever ready: it will not be


@dataclass(frozen=True, kw_only=True)
class OwnEngine:
    """Where it is and what it wants to hear."""

    url: str
    token: str


@contextmanager
def serving(base_model: Path, *, recipe: ModelRecipe, out: Path) -> Iterator[OwnEngine]:
    """Started, watched and stopped again; restarted when it dies. It loads what lies in `out`.

    Raises Unavailable when it does not start, CannotStart when there is no room for it.
    """
    check_memory(base_model)
    logs = out / "logs"
    port, token = choose_port(_PORT), secrets.token_urlsafe(32)
    part = Part(
        name="engine",
        command=(sys.executable, "-m", "serving", "engine"),
        ready=engine_serves(port, token=token),
        alive=http_ok(port, "/health"),
        start_timeout_s=180.0,
    )
    supervisor = Supervisor(
        [part],
        stack=secrets.token_hex(8),
        environment=_environment(base_model, recipe=recipe, out=out, port=port, token=token),
        log_dir=logs,
        on_change=lambda _: None,
    )
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_run(supervisor, stopping),))
    thread.start()
    try:
        _wait(supervisor, logs)
        yield OwnEngine(url=f"http://127.0.0.1:{port}", token=token)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


async def _run(supervisor: Supervisor, stopping: asyncio.Event) -> None:
    async with supervisor:
        await supervisor.run(stopping)


def _wait(supervisor: Supervisor, logs: Path) -> None:
    watched = supervisor.watched["engine"]
    deadline = time.monotonic() + _START_S
    while not supervisor.all_ready:
        if watched.num_restarts > _MAX_RESTARTS or time.monotonic() > deadline:
            raise Unavailable(
                f"the engine does not start ({watched.why}): see {logs / 'engine.log'}"
            )
        time.sleep(0.2)


def _environment(
    base_model: Path, *, recipe: ModelRecipe, out: Path, port: int, token: str
) -> Mapping[str, str]:
    environment = os.environ | {
        "HONE_SERVING_DATA_DIR": str(out.resolve()),
        "HONE_SERVING_BASE_MODEL": str(base_model),
        "HONE_SERVING_ENGINE_PORT": str(port),
        "HONE_SERVING_ENGINE_TOKEN": token,
        "HONE_SERVING_MAX_MODEL_LEN": str(max(64, recipe.max_sequence_tokens)),
    }
    if isinstance(recipe, AdapterRecipe):
        environment["HONE_SERVING_MAX_LORA_RANK"] = str(recipe.rank)
        environment["HONE_SERVING_LORA_TARGET_MODULES"] = json.dumps(recipe.target_modules)
    if not shutil.which("nvidia-smi"):
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # trainer and engine share the cores
    return environment
