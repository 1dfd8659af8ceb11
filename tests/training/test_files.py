from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import files


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    files.write_text(tmp_path / "DONE", "a")
    files.write_text(tmp_path / "DONE", "b")
    assert (tmp_path / "DONE").read_text() == "b"
    assert len(list(tmp_path.iterdir())) == 1


def test_only_the_first_of_several_processes_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    files.write_text(tmp_path / "DONE", "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["training.step", "training.moderation.step"])
def test_the_process_of_a_step_that_needs_no_torch_loads_none(module: str) -> None:
    script = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ})
