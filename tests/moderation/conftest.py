"""The classifier as it is installed, and the server as it is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.classifier import Classifier, load
from moderation.settings import ModerationSettings


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return load(ModerationSettings())


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `python -m moderation serve`, with small bounds so that the tests can pass them."""
    log = tmp_path_factory.mktemp("moderation") / "server.log"
    port = _free_port()
    bounds = {"MAX_BODY_BYTES": "100000", "MAX_INPUTS": "40", "MAX_CHARS": "50000"}
    settings = {f"HONE_MODERATION_{name}": value for name, value in bounds.items()}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moderation", "serve"],
            env={**os.environ, **settings, "HONE_MODERATION_PORT": str(port)},
            cwd=Path(__file__).parents[2],
            stdout=out,
            stderr=out,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process=process, log=log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_ready(url: str, *, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the moderation server did not start:\n{log.read_text()}")
            time.sleep(0.05)
