"""What an application does with the openai package for Node: node/openai.test.mjs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The pinned package, installed once into the user's cache; never into the tree."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node or no npm on PATH")
    pinned = (HERE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hone" / f"node-{hashlib.sha256(pinned).hexdigest()[:12]}"
    if not (folder / "node_modules" / "openai" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_bytes(pinned)
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        run = subprocess.run(
            [npm, "install", *quiet], cwd=folder, capture_output=True, text=True, timeout=400
        )
        if run.returncode != 0:
            pytest.skip(f"npm cannot install the openai package: {run.stderr.strip()[-300:]}")
    return folder / "node_modules"


def test_the_node_package_can_do_all_of_it(
    gateway: Running, engine: FakeEngine, node_modules: Path, tmp_path: Path
) -> None:
    limited, _ = auth.create_key(
        gateway.redis, name="slow", scopes=("infer",), requests_per_minute=1
    )
    # A module finds its packages beside itself.
    script = shutil.copy(HERE / "openai.test.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    run = subprocess.run(
        ["node", "--test", "--test-reporter=spec", script],
        env={
            "PATH": os.environ["PATH"],
            "HONE_URL": gateway.url,
            "HONE_KEY": gateway.secret,
            "HONE_LIMITED_KEY": limited,
            "HONE_ENGINE_URL": engine.url,
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "fail 0" in run.stdout
    assert "pass 16" in run.stdout
