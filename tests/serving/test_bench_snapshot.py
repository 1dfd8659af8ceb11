"""`hone bench snapshot`, small. No figure is judged."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from feedback.events import Completion, Feedback
from serving.bench.invented import InventedLog
from serving.bench.report import show
from serving.bench.snapshot import run


def test_an_invented_log_is_the_same_each_time_and_ends_where_it_says() -> None:
    log, again = InventedLog(1_100), InventedLog(1_100)
    for kind in (Feedback.kind, Completion.kind):
        events = list(log.read(kind))
        assert events == list(again.read(kind))
        assert events[-1][0] == log.last_entry(kind)
        assert len({event.id for _, event in events}) == len(events)
    assert log.num_events == 1_100
    judged = {each for _, e in log.read("feedback") for each in e.completion_ids}  # type: ignore[union-attr]
    assert judged <= {event.id for _, event in log.read("completions")}


async def test_a_snapshot_is_measured_beside_its_floor(tmp_path: Path) -> None:
    said: list[str] = []
    report = await run(sizes=[1_100], folder=tmp_path, say=said.append)
    (row,) = report["snapshots"]
    assert (row["events"], row["judgements"]) == (1_100, 100)
    assert 50 < row["rankings"] < 100
    assert row["masked"] > 0
    assert row["times_floor"] > 1
    assert row["peak_mb"] > row["floor_peak_mb"] > 10
    assert len(said) == 2
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    console = Console(file=StringIO(), width=200)
    show(report, console)
    assert isinstance(console.file, StringIO)
    assert "1,100 events" in console.file.getvalue()
