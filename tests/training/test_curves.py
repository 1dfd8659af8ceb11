from __future__ import annotations

from pathlib import Path

import pytest

from training.curves import Curves


def test_lines_of_other_steps_stay_and_half_a_line_goes_when_a_step_goes_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    first, second = Curves(path, step="reward"), Curves(path, step="ppo")
    for i in range(3):
        first.append(i, {"reward/loss": 0.5})
        second.append(i, {"objective/kl": 0.1 * i})
    with path.open("a") as file:
        file.write('{"step": "ppo", "iter')
    second.rewind(1)
    assert [row["iteration"] for row in first.read()] == [0, 1, 2]
    assert [row["objective/kl"] for row in second.read()] == [0.0]


def test_tensorboard_shows_the_curve_as_it_went_on_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed, resumed = (Curves(tmp_path / "metrics.jsonl", step="ppo") for _ in range(2))
    for i in range(4):
        killed.append(i, {"objective/kl": float(i)})
    resumed.rewind(2)
    for i in range(2, 5):
        resumed.append(i, {"objective/kl": 10.0 * i})
    shown = EventAccumulator(str(tmp_path / "tensorboard" / "ppo"))
    shown.Reload()
    found = [(scalar.step, scalar.value) for scalar in shown.Scalars("objective/kl")]
    assert found == [(0, 0.0), (1, 1.0), (2, 20.0), (3, 30.0), (4, 40.0)]
