from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from feedback.errors import Unprocessable
from training import parallel

_TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(base_model: Path, weights: str, out: Path, *, torchrun: list[str]) -> dict[str, Any]:
    command = ["-m", "tests.training.two_processes", str(base_model), weights, str(out)]
    # torchrun passes `-m module` on to the processes that it starts.
    done = subprocess.run(
        [sys.executable, *torchrun, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("weights", ["adapter", "full"])
def test_two_processes_have_the_losses_and_the_weights_of_one(
    tiny_folder: Path, tmp_path: Path, weights: str
) -> None:
    alone = run(tiny_folder, weights, tmp_path / "alone.json", torchrun=[])
    both = run(tiny_folder, weights, tmp_path / "both.json", torchrun=_TORCHRUN)
    assert len(alone["figures"]) == len(both["figures"]) == 11
    for one, two in zip(alone["figures"], both["figures"], strict=True):
        for name in one.keys() - {"time/train_s", "time/tokens_per_s"}:
            assert two[name] == pytest.approx(one[name], rel=2e-4, abs=2e-5), name
    for name, value in alone["state"].items():
        assert both["state"][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_alone_nothing_is_shared() -> None:
    assert parallel.size() == 1
    assert parallel.share([1, 2, 3]) == [1, 2, 3]
    assert parallel.from_first(lambda: "it") == "it"
    assert parallel.totals({"a": 1.5}, device=torch.device("cpu")) == {"a": 1.5}


def test_rows_that_cannot_be_dealt_evenly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "size", lambda: 2)
    with pytest.raises(Unprocessable, match="multiples of the number of processes"):
        parallel.share([1, 2, 3])


def test_gradients_are_cut_to_their_norm_and_no_further() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert parallel.clip_gradients(weights, max_norm=1.0) == pytest.approx(5.0)
    assert parallel.clip_gradients(weights, max_norm=10.0) == pytest.approx(1.0, abs=1e-5)
