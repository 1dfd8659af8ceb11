"""Celery's and RedBeat's way to a Redis over TLS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.connection import connect
from tests.redis_over_tls import over_tls, wait_for


@pytest.mark.parametrize("module", ["training.tasks", "redbeat"])
def test_a_worker_tells_the_password_to_no_server_whose_certificate_nobody_signed(
    tmp_path: Path, module: str
) -> None:
    connects = {
        "training.tasks": "app.connection_for_write().ensure_connection(max_retries=1)",
        "redbeat": "from redbeat.schedulers import get_redis; get_redis(app).ping()",
    }
    words = [sys.executable, "-c", f"from training.tasks import app; {connects[module]}"]
    with over_tls(tmp_path, asks_for_a_certificate=False) as address:
        with connect(f"{address}?ssl_ca_certs={tmp_path}/ca.crt") as client:
            wait_for(client)
        known = os.environ | {"HONE_FEEDBACK_REDIS_URL": address}
        stranger = subprocess.run(words, env=known, capture_output=True, text=True, timeout=100)
        known["SSL_CERT_FILE"] = str(tmp_path / "ca.crt")  # as a public CA is known to a machine
        signed = subprocess.run(words, env=known, capture_output=True, text=True, timeout=100)
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.stderr
    assert signed.returncode == 0, signed.stderr
