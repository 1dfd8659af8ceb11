"""`hone moderation serve` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import free_port


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[str]:
    """Its URL, once it is ready; `settings` without HONE_MODERATION_. Its log is in `folder`."""
    log, port = folder / "moderation.log", free_port()
    env = {f"HONE_MODERATION_{name}": value for name, value in settings.items()}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "moderation", "serve"],
            env={**os.environ, **env, "HONE_MODERATION_PORT": str(port)},
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
