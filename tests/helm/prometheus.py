"""A real Prometheus with our alerts, hurried: what takes minutes takes seconds."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.conftest import free_port
from tests.helm.exported_metrics import ROOT

HURRY = 60  # every `for:` is this many times shorter; what a query looks back over stays as it is


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def firing(self) -> set[str]:
        """Alerts that fire now, by name."""
        found = httpx2.get(f"{self._url}/api/v1/alerts", timeout=20).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    def wait_for(self, *alerts: str) -> None:
        """Until all of them fire."""
        self._until(lambda firing: set(alerts) <= firing, f"{alerts} to fire")

    def wait_for_none_of(self, *alerts: str) -> None:
        """Until none of them does."""
        self._until(lambda firing: not set(alerts) & firing, f"{alerts} to be over")

    def _until(self, is_so: Callable[[set[str]], bool], what: str) -> None:
        deadline = time.monotonic() + 120
        while not is_so(firing := self.firing()):
            assert time.monotonic() < deadline, f"waited for {what}; firing: {sorted(firing)}"
            time.sleep(0.3)


@contextmanager
def prometheus(folder: Path, *, scrapes: str) -> Iterator[Prometheus]:
    """Scrapes one address. Skips, with the reason, where there is no Prometheus."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is missing: Debian's package prometheus has it")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [_hurried(path, folder) for path in _files()],
        "scrape_configs": [{"job_name": "hone", "static_configs": [{"targets": [scrapes]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={folder / 'prometheus.yaml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_ready(address, process, folder / "prometheus.log")
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()
        process.wait()


def _files() -> list[Path]:
    return sorted((ROOT / "helm" / "alerts").glob("*.yaml"))


def _hurried(path: Path, folder: Path) -> str:
    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[1]) * {"m": 60, "h": 3600}[found[2]]
        return f"for: {max(1, seconds // HURRY)}s"

    copy = folder / path.name
    copy.write_text(re.sub(r"for: (\d+)([mh])", shorter, path.read_text()))
    return str(copy)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx2.get(f"http://{address}/-/ready", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
