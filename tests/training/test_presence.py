"""A worker says that it lives: a real one, on a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from feedback import keys
from feedback.connection import connect
from training import presence


def test_a_worker_is_up_until_it_is_killed(redis_url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "HONE_FEEDBACK_REDIS_URL": redis_url,
        "HONE_SERVING_ENGINE_TOKEN": "a-token-of-the-tests",
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as out, connect(redis_url) as client:
        worker = subprocess.Popen(
            [sys.executable, "-m", "training", "worker", "train"],
            env=environment,
            stdout=out,
            stderr=out,
        )
        try:
            deadline = time.monotonic() + 120
            while not client.exists(keys.worker_up("train")):
                assert worker.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            assert not client.exists(keys.worker_up("control"))
        finally:
            worker.kill()
            worker.wait()
        left_ms = client.pttl(keys.worker_up("train"))
        assert 0 < left_ms <= presence.GONE_AFTER_S * 1000  # nobody says it again
