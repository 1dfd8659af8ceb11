"""What a command says of environment variables that are missing or wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["gateway", "drain"])
def test_each_variable_is_named_in_a_line_and_no_secret_is_shown(command: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HONE_")}
    wrong = {"HONE_SERVING_ENGINE_TOKEN": "short", "HONE_SERVING_PORT": "99999999"}
    run = subprocess.run(
        [sys.executable, "-m", "serving", command],
        env=kept | wrong,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert run.returncode == 2
    lines = run.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == sorted(wrong, reverse=True)
    assert all("(see serving/settings.py)" in line for line in lines)
    assert "short" not in run.stderr.replace("too short", "")
