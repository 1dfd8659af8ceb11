from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.local_sampler import LocalSampler, MakeModel
from training.alarms import EngineGapError
from training.batches import Packed
from training.config import load_recipe
from training.curves import Curves
from training.data import Prompt
from training.learner import Learner
from training.models import POLICY, VALUE, Models
from training.trainer import Trainer
from training.trainer import train as run

RECIPE = load_recipe("tiny")
PROMPTS = [Prompt(id=str(i), ids=(10 + i, 11, 12), text="") for i in range(6)]
PRETRAINING = [tuple(range(start, start + 16)) for start in range(5, 60, 5)]


class Killed(Exception):
    """Stands for the process's end."""


def share_of_even_tokens(packed: Packed, trunk_BT: torch.Tensor) -> torch.Tensor:
    even = (packed.targets_N % 2 == 0).float()
    return torch.stack([part.mean() for part in even.split(packed.lengths_E.tolist())])


def trainer_of(model: Models, **sampler: float) -> Trainer:
    return Trainer(
        model=model,
        recipe=RECIPE.ppo,
        learner=Learner(model, RECIPE.ppo, pretraining=PRETRAINING, seed=7),
        sampler=LocalSampler(model, **sampler),  # type: ignore[arg-type]
        scorer=share_of_even_tokens,
        prompts=PROMPTS,
        seed=7,
    )


def train(trainer: Trainer, folder: Path, *, killed_in: int | None = None) -> Curves:
    curves = Curves(folder / "metrics.jsonl", step="ppo")
    checks = iter(range(100))

    def check_mine() -> None:
        if next(checks) == killed_in:
            raise Killed

    run(trainer, folder=folder, curves=curves, recipe=RECIPE, check_mine=check_mine)
    return curves


def test_a_killed_run_goes_on_at_its_checkpoint_and_ends_with_every_iteration_once(
    make_model: MakeModel, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(trainer_of(make_model()), tmp_path, killed_in=1)
    second = trainer_of(make_model(seed=9))
    curves = train(second, tmp_path)
    assert [row["iteration"] for row in curves.read()] == [0, 1, 2]
    assert [row["episode"] for row in curves.read()] == [16, 32, 48]
    assert isinstance(second.sampler, LocalSampler)
    assert second.sampler.refreshed == [1, 2]


def test_a_resumed_learner_has_the_very_state_of_the_one_that_was_killed(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    trainer = trainer_of(model)
    train(trainer, tmp_path)
    again = make_model(seed=9)
    resumed = trainer_of(again)
    train(resumed, tmp_path)  # nothing is left to do: loads the last checkpoint
    for name in (POLICY, VALUE):
        torch.testing.assert_close(again.state(name), model.state(name), rtol=0, atol=0)
    torch.testing.assert_close(resumed.learner.state(), trainer.learner.state(), rtol=0, atol=0)


def test_a_step_that_lost_its_lease_writes_no_checkpoint(
    make_model: MakeModel, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(trainer_of(make_model()), tmp_path, killed_in=0)
    assert list(tmp_path.glob("state-*")) == []


def test_an_engine_that_samples_another_policy_stops_the_run(
    make_model: MakeModel, tmp_path: Path
) -> None:
    with pytest.raises(EngineGapError, match="GET /policy"):
        train(trainer_of(make_model(), shift_nats=0.5), tmp_path)


def test_at_the_start_the_policy_is_the_reference(make_model: MakeModel) -> None:
    metrics = trainer_of(make_model()).run_iteration(0)
    assert metrics["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert metrics["ppo/engine_gap_nats"] == pytest.approx(0, abs=1e-4)
    assert metrics["objective/rlhf_reward"] == pytest.approx(metrics["objective/scores"], abs=1e-4)
