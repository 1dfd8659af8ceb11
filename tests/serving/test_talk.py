"""`helm test`'s script (helm/files/talk.py) does what it says, against a real gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "helm" / "files" / "talk.py"


def talk(gateway: Running, redis_url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    hone = folder / "hone"  # as the image has it on its path
    hone.write_text(f'#!/bin/sh\nexec {sys.executable} -m training "$@"\n')
    hone.chmod(0o755)
    env = os.environ | {
        "HONE_URL": gateway.url,
        "HONE_TIMEOUT_S": "30",
        "HONE_FEEDBACK_REDIS_URL": redis_url,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{folder}:{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text()],
        env=env,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_it_gets_an_answer_judges_it_and_has_a_text_moderated(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine, tmp_path: Path
) -> None:
    gateway = start_gateway(redis_url, engine)
    done = talk(gateway, redis_url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["OK", "OK", "OK"]


def test_an_error_says_what_failed_and_fails_it(
    start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine, tmp_path: Path
) -> None:
    gateway = start_gateway(redis_url, engine)
    engine.fail_next = 5
    done = talk(gateway, redis_url, tmp_path)
    assert done.returncode != 0
    assert "FAIL  POST /v1/chat/completions: 503" in done.stderr
