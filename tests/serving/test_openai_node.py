"""What an application does with the openai package for Node: node/openai.test.mjs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serving import auth
from tests.node_packages import installed
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return installed(HERE / "package.json")


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
