from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from training.bench.iteration import Task, measure
from training.bench.ppo import figures, phases
from training.cli import app

PHASES = {
    *("score/policy", "score/reference", "score/value", "score/reward"),
    *("train/policy", "train/value", "train/ptx", "optimizer"),
}
TINY = Task(
    is_baseline=False,
    recipe="tiny",
    folder=None,
    random_model="tiny",
    device="cpu",
    threads=0,
    iterations=1,
    prompt_tokens=(4, 8),
    answer_tokens=(4, 8),
    seed=0,
)


def test_every_phase_of_both_versions_is_measured_and_none_beats_the_floor() -> None:
    for is_baseline, names in ((False, PHASES | {"trunk"}), (True, PHASES)):
        found = measure(Task(**{**vars(TINY), "is_baseline": is_baseline}))
        rows = {row["phase"]: row for row in phases(found)}
        assert rows.keys() == names | {"between phases"}
        assert all(row["peak_mb"] > 0 for name, row in rows.items() if name in names)
        assert 0 < figures(found)["share_of_floor"] < 1


def test_the_command_refuses_a_recipe_or_a_model_that_it_cannot_measure() -> None:
    for arguments, said in (
        (["--random-model", "7b"], "known: "),
        (["--recipe", "none"], "no recipe 'none'"),
    ):
        result = CliRunner().invoke(app, ["bench", "ppo", *arguments])
        assert result.exit_code != 0
        assert said in str(result.exception)


def test_a_task_travels_to_its_process_as_json() -> None:
    fields = json.loads(TINY.argument())
    assert fields["prompt_tokens"] == [4, 8]
    assert fields["random_model"] == "tiny"


@pytest.mark.parametrize("name", ["h100 80GB HBM3", "NVIDIA H200"])
def test_mfu_is_reported_for_a_known_gpu_only(name: str) -> None:
    one = {"seconds": 2.0, "cpu_s": {"trunk": 1.0}, "rates": {"a": {"wall": 1e12, "cpu": 1e12}}}
    found = {
        "rounds": [one],
        "flops": {"trunk": 1e12},
        "device": name,
        "at_rest_mb": 1.0,
        "process_peak_mb": 2.0,
        "response_tokens": 10,
    }
    assert figures(found).get("mfu") == (0.5e12 / 989e12 if "H200" in name else None)
    assert figures(found)["share_of_floor"] == 0.5
    assert "cpu_share_of_floor" not in figures(found)
