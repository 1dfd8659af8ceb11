from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training.local_sampler import LocalSampler, MakeModel
from training.alarms import EngineGapError
from training.batches import Packed
from training.config import PPORecipe, Recipe, load_recipe
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


def trainer_of(model: Models, *, recipe: PPORecipe = RECIPE.ppo, **sampler: float) -> Trainer:
    return Trainer(
        model=model,
        recipe=recipe,
        learner=Learner(model, recipe, pretraining=PRETRAINING, seed=7),
        sampler=LocalSampler(model, **sampler),  # type: ignore[arg-type]
        scorer=share_of_even_tokens,
        prompts=PROMPTS,
        seed=7,
    )


def train(
    trainer: Trainer, folder: Path, *, killed_in: int | None = None, recipe: Recipe = RECIPE
) -> Curves:
    curves = Curves(folder / "metrics.jsonl", step="ppo")
    checks = iter(range(100))

    def check_mine() -> None:
        if next(checks) == killed_in:
            raise Killed

    run(trainer, folder=folder, curves=curves, recipe=recipe, check_mine=check_mine)
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


class SeededSampler(LocalSampler):
    """Samples alike in every process: an iteration's answers depend on its number and the weights."""

    def refresh(self, iteration: int) -> None:
        super().refresh(iteration)
        self._generator = torch.Generator().manual_seed(iteration)


def test_a_run_killed_anywhere_ends_with_the_very_weights_of_one_that_was_not(
    make_model: MakeModel, tmp_path: Path
) -> None:
    """Bit for bit: policy, value model, Adam's moments, the moving average, and beta."""
    changes = {"ema_decay": 0.9, "kl_target_nats": 0.5, "kl_horizon_episodes": 100}
    recipe = RECIPE.ppo.model_copy(update=changes)

    def trainer() -> Trainer:
        model = make_model()
        found = trainer_of(model, recipe=recipe)
        found.sampler = SeededSampler(model)
        return found

    ends = []
    for killed_in in (None, 1, 2):
        last, folder = trainer(), tmp_path / str(killed_in)
        folder.mkdir()
        if killed_in is not None:
            with pytest.raises(Killed):
                train(last, folder, killed_in=killed_in)
            last = trainer()
        train(last, folder)
        ends.append((last.learner.state(), last.kl_coef, last.learner.candidate))
    assert ends[0][1] != recipe.kl_coef  # it was adapted
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=0)


def test_what_was_sampled_ahead_of_a_kill_is_sampled_again(
    make_model: MakeModel, tmp_path: Path
) -> None:
    recipe = RECIPE.ppo.model_copy(update={"overlap": True})
    first = trainer_of(make_model(), recipe=recipe)
    with pytest.raises(Killed):
        train(first, tmp_path, killed_in=1)
    second = trainer_of(make_model(), recipe=recipe)
    assert [row["iteration"] for row in train(second, tmp_path).read()] == [0, 1, 2]
    assert isinstance(first.sampler, LocalSampler)
    assert isinstance(second.sampler, LocalSampler)
    assert (first.sampler.refreshed, second.sampler.refreshed) == ([0, 1, 2], [1, 2])


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


def test_with_overlap_a_batch_is_sampled_by_the_weights_before_the_last_update(
    make_model: MakeModel, tmp_path: Path
) -> None:
    recipe = RECIPE.ppo.model_copy(update={"overlap": True, "learning_rate": 1e-2})
    trainer = trainer_of(make_model(), recipe=recipe)
    rows = train(trainer, tmp_path).read()
    assert isinstance(trainer.sampler, LocalSampler)
    # Loaded ahead: batch 1 before update 0. The first batch is on-policy, the others one update behind.
    assert trainer.sampler.refreshed == [0, 1, 2]
    assert rows[0]["ppo/sampler_gap_nats"] == pytest.approx(0, abs=1e-4)
    for row in rows[1:]:
        assert row["ppo/sampler_gap_nats"] > 1e-3
        assert row["ppo/engine_gap_nats"] == pytest.approx(0, abs=1e-4)  # of the same weights
    # That the ratio of the first minibatch is 1 nevertheless, the learner checks in every iteration.


@pytest.mark.parametrize("overlap", [False, True])
def test_an_engine_that_is_wrong_is_noticed_before_anything_is_learnt_from_it(
    make_model: MakeModel, tmp_path: Path, overlap: bool
) -> None:
    recipe = RECIPE.ppo.model_copy(update={"overlap": overlap})
    with pytest.raises(EngineGapError, match="iteration 0: .*GET /policy"):
        train(trainer_of(make_model(), recipe=recipe, shift_nats=0.5), tmp_path)
    assert list(tmp_path.glob("state-*")) == []


def test_metrics_tell_throughput_and_memory(make_model: MakeModel) -> None:
    metrics = trainer_of(make_model()).run_iteration(0)
    names = ("time/rollout_tokens_per_s", "time/train_tokens_per_s", "memory/peak_bytes")
    assert all(metrics[name] > 0 for name in names)


def test_two_answers_of_every_iteration_can_be_read(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(trainer_of(make_model()), tmp_path, killed_in=1)
    train(trainer_of(make_model()), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert lines[0].keys() >= {"prompt", "answer", "score", "kl_nats"}
    assert lines[0]["prompt"].split()[1:] == ["11", "12"]  # token ids: it has no text
