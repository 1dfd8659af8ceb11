from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_benign_lines_are_counted_and_the_flagged_ones_shown(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("How do I bake bread?\n\nI am going to stab him to death tomorrow.\n")
    command = [sys.executable, "-m", "moderation.evaluate", str(file)]
    report = json.loads(subprocess.check_output(command))
    assert report["num_texts"] == 2
    assert report["flagged_share"] == 0.5
    assert "violence" in report["flagged"]["I am going to stab him to death tomorrow."]
    assert report["ms_per_text"] > 0


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "moderation.evaluate", str(tmp_path / "absent.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "absent.txt" in result.stderr
    assert "Traceback" not in result.stderr
