"""Celery's and RedBeat's way to a Redis over TLS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.connection import connect
from tests.redis_over_tls import over_tls, wait_for

_CONNECTS = {
    "training.tasks": "app.connection_for_write().ensure_connection(max_retries=1)",
    "redbeat": "from redbeat.schedulers import get_redis; get_redis(app).ping()",
}


def connect_by(module: str, address: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from training.tasks import app; {_CONNECTS[module]}"],
        env=os.environ | {"HONE_FEEDBACK_REDIS_URL": address, **more},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("module", _CONNECTS)
def test_a_worker_tells_the_password_to_no_server_whose_certificate_nobody_signed(
    tmp_path: Path, module: str
) -> None:
    with over_tls(tmp_path, asks_for_a_certificate=False) as address:
        with connect(f"{address}?ssl_ca_certs={tmp_path}/ca.crt") as client:
            wait_for(client)
        stranger = connect_by(module, address)
        # As a public CA is known to a machine.
        signed = connect_by(module, address, SSL_CERT_FILE=str(tmp_path / "ca.crt"))
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.stderr
    assert signed.returncode == 0, signed.stderr


@pytest.mark.parametrize("module", _CONNECTS)
def test_what_an_address_says_of_tls_counts(tmp_path: Path, module: str) -> None:
    """A CA and a certificate of one's own."""
    with over_tls(tmp_path, asks_for_a_certificate=True) as address:
        own_ca = f"{address}?ssl_ca_certs={tmp_path}/ca.crt"
        own = f"{own_ca}&ssl_certfile={tmp_path}/tls.crt&ssl_keyfile={tmp_path}/tls.key"
        with connect(own) as client:
            wait_for(client)
        assert connect_by(module, own_ca).returncode != 0
        done = connect_by(module, own)
    assert done.returncode == 0, done.stderr
