from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from serving.stack.model import PACKAGE

EXPERIMENT = """
from training.prove.own_stack import own_stack
with own_stack():
    pass
"""


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="no package of the default model")
def test_an_experiment_killed_with_kill_9_leaves_nothing_running(tmp_path: Path) -> None:
    """It starts in the background, where shells make a process deaf for Ctrl-C."""
    command = ["/bin/sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, EXPERIMENT]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}) as experiment:
        deadline = time.monotonic() + 60
        while not (family := psutil.Process(experiment.pid).children(recursive=True)) or not any(
            log.stat().st_size for log in tmp_path.glob("*/up.log")
        ):
            assert experiment.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        experiment.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
