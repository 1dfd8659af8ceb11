"""`hone bench console`, small."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from serving.cli import app


def test_every_screen_is_asked_for_beside_so_many_completions(tmp_path: Path) -> None:
    sizes = ("--completions", "1500", "--versions", "8", "--times", "2")
    command = ["bench", "console", *sizes, "--data", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert (found["completions"], found["versions"]) == (1500, 8)
    rows = {row["target"]: row for row in found["screens"]}
    assert len(rows) == 16
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["max_ms"]
        assert row["page_kb"] > 1
    assert not list(tmp_path.glob("bench-*"))
