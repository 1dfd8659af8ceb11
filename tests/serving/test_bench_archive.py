"""`hone bench archive`, small."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from serving.cli import app


def test_all_events_are_archived_and_read_back_beside_their_floors(tmp_path: Path) -> None:
    command = ["bench", "archive", "--events", "100", "--tokens", "20", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout[done.stdout.index("{") :])["archive"]
    assert [row["num_events"] for row in rows] == [100] * 4 + [1000] * 4
    for row in rows:
        assert row["events_per_s"] > 0
    for archived in rows[::4]:
        assert 0 < archived["at_start_mb"] <= archived["peak_mb"]
        assert 0 < archived["of_floor"] < 10
    assert not list(tmp_path.glob("bench-*"))
