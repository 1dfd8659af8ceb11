"""Reading what rounds wrote: bounded, and never fooled by a name, a half-written line or a NaN."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.oversight import gates
from serving.oversight.round_files import RoundFiles


def write(data_dir: Path, name: str, text: str) -> Path:
    path = data_dir / "rounds" / "round-0001" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["../secret", "round-1", "round-0001/../..", "", "round-0001\n"])
def test_only_a_round_s_id_names_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "round.json").write_text('{"a": 1}')
    files = RoundFiles(tmp_path)
    assert files.folder(name) is None
    assert files.plan(name) is None
    assert files.curves(name) == {}
    assert files.log(name, "ppo") == ""
    assert files.ended(name, "ppo") is None


def test_curves_have_every_metric_of_a_step_and_leave_out_what_is_half_written(
    tmp_path: Path,
) -> None:
    lines = [
        {"t": 1.0, "step": "ppo", "iteration": 0, "objective/kl": 0.0, "episode": 8},
        {"t": 1.0, "step": "ppo", "iteration": 1, "objective/kl": float("nan")},
        {"t": 1.0, "step": "ppo", "iteration": 2, "objective/kl": 0.5},
        {"t": 1.0, "step": "reward", "iteration": 0, "reward/loss": 0.69},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write(tmp_path, "metrics.jsonl", text + '{"t": 1.0, "step": "ppo", "iter')
    found = RoundFiles(tmp_path).curves("round-0001")
    assert found == {
        "ppo": {"objective/kl": [(0, 0.0), (2, 0.5)]},
        "reward": {"reward/loss": [(0, 0.69)]},
    }


def test_a_long_run_is_thinned_out_and_its_last_point_stays(tmp_path: Path) -> None:
    lines = (
        json.dumps({"step": "ppo", "iteration": n, "objective/kl": n / 10}) for n in range(5_000)
    )
    write(tmp_path, "metrics.jsonl", "\n".join(lines) + "\n")
    points = RoundFiles(tmp_path).curves("round-0001")["ppo"]["objective/kl"]
    assert len(points) == 240
    assert points[-1] == (4_999, 499.9)
    assert points == sorted(points)


def test_what_grows_is_read_again(tmp_path: Path) -> None:
    files = RoundFiles(tmp_path)
    line = json.dumps({"step": "ppo", "iteration": 0, "objective/kl": 1.0}) + "\n"
    path = write(tmp_path, "metrics.jsonl", line)
    assert len(files.curves("round-0001")["ppo"]["objective/kl"]) == 1
    path.write_text(line + line.replace('"iteration": 0', '"iteration": 1'))
    assert len(files.curves("round-0001")["ppo"]["objective/kl"]) == 2


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    write(tmp_path, "ppo.log", "x" * 100_000 + "\nthe last line\n")
    text = RoundFiles(tmp_path).log("round-0001", "ppo")
    assert text.endswith("the last line\n")
    assert len(text) == 16_384
    assert RoundFiles(tmp_path).log("round-0001", "../round.json") == ""


def test_a_figure_that_could_not_be_measured_is_none_and_texts_may_say_nan(tmp_path: Path) -> None:
    report = {
        "passed": False,
        "checks": [{"name": "kl_nats", "value": float("nan"), "limit": 1.0, "passed": False}],
        "samples": [{"prompt": "NaN is a bread"}],
    }
    write(tmp_path, "gate/report.json", json.dumps(report))
    files = RoundFiles(tmp_path)
    found = gates.report(files, "round-0001", with_texts=True)
    assert found is not None
    assert found["checks"][0]["value"] is None
    assert found["samples"][0]["prompt"] == "NaN is a bread"


def test_who_may_not_read_texts_gets_a_report_without_them(tmp_path: Path) -> None:
    report = {"passed": True, "checks": [], "samples": [{"prompt": "secret"}], "flagged": {"a": 1}}
    write(tmp_path, "gate/report.json", json.dumps(report))
    files = RoundFiles(tmp_path)
    assert gates.report(files, "round-0001", with_texts=False) == {"passed": True, "checks": []}
    assert gates.report(files, "round-0002", with_texts=False) is None


def test_the_last_verdict_is_of_the_newest_round_that_has_one(tmp_path: Path) -> None:
    check = {
        "name": "win_rate",
        "value": 0.4,
        "limit": 0.5,
        "passed": False,
        "interval": [0.3, 0.5],
    }
    evidence = {"win_rate": {"value": 0.4, "low": 0.3, "high": 0.5, "num_units": 9}}
    report = {"passed": False, "checks": [check], "evidence": evidence}
    write(tmp_path, "gate/report.json", json.dumps(report))
    found = gates.last(RoundFiles(tmp_path), 3)
    assert found is not None
    assert found["round_id"] == "round-0001"
    assert found["failed_checks"] == ["win_rate"]
    assert found["win_rate"]["value"] == 0.4
    assert gates.last(RoundFiles(tmp_path), 40) is None  # it looks back so far, not for ever
