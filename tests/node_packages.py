"""Packages of npm that tests use: pinned, installed once into the user's cache, never into the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def installed(package_json: Path) -> Path:
    """Their node_modules. Skips, with the reason, where they are not there and cannot be had."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("no node or no npm on PATH")
    pinned = package_json.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hone" / f"node-{hashlib.sha256(pinned).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not (folder / "installed").exists():
            (folder / "package.json").write_bytes(pinned)
            quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
            run = subprocess.run(
                [npm, "install", *quiet], cwd=folder, capture_output=True, text=True, timeout=400
            )
            if run.returncode != 0:
                pytest.skip(f"npm cannot install {package_json}: {run.stderr.strip()[-300:]}")
            (folder / "installed").touch()
    return folder / "node_modules"
