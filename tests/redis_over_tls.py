"""A real Redis that speaks TLS, with a certificate that no CA has signed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.conftest import free_port, redis_binary


@contextmanager
def over_tls(folder: Path, *, asks_for_a_certificate: bool) -> Iterator[str]:
    """A real server; its address, without a query."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    _certificates(openssl, folder)
    port = free_port()
    asks = "yes" if asks_for_a_certificate else "no"
    tls = {"tls-port": str(port), "port": "0", "tls-auth-clients": asks, "save": ""}
    tls |= {f"tls-{n}-file": str(folder / f) for n, f in _FILES.items()}
    words = [word for name, value in tls.items() for word in (f"--{name}", value)]
    server = subprocess.Popen([redis_binary(), *words], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield f"rediss://localhost:{port}/0"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(client: redis.Redis) -> None:
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 100)
    assert retry.call_with_retry(client.ping, lambda _error: None)


_FILES = {"cert": "tls.crt", "key": "tls.key", "ca-cert": "ca.crt"}


def _certificates(openssl: str, folder: Path) -> None:
    """One that signs itself, for localhost, as CA, server and client."""
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    shutil.copy(folder / "tls.crt", folder / "ca.crt")
