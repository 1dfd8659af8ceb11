from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.local_sampler import MakeModel, randomise
from training import reward
from training.batches import Group, pack
from training.config import Readout, load_recipe
from training.data import Ranking
from training.models import REWARD, VALUE

RECIPE = load_recipe("tiny").reward


def rankings_by_count(num: int, *, token: int, seed: int, noise: float = 0.0) -> list[Ranking]:
    """A labeler who likes answers with many of one token."""
    rng = random.Random(seed)
    found = []
    for i in range(num):
        counts = rng.sample(range(7), 4)
        answers = []
        for count in counts:
            ids = [token] * count + [rng.randrange(100, 140) for _ in range(8 - count)]
            rng.shuffle(ids)
            answers.append(tuple(ids))
        seen = [count + rng.gauss(0, 1) * noise for count in counts]
        order = sorted(range(4), key=lambda k: -seen[k])
        ranks = tuple(order.index(k) + 1 for k in range(4))
        prompt = tuple(rng.randrange(10, 90) for _ in range(5))
        group = Group(prompt_ids=prompt, answers=tuple(answers))
        found.append(Ranking(id=str(i), group=group, ranks=ranks))
    return found


def test_the_reward_model_learns_what_the_labeler_likes(make_model: MakeModel) -> None:
    model = make_model()
    heldout = rankings_by_count(40, token=50, seed=1)
    before = reward.heldout_accuracy(model, heldout, readout="mean")
    recipe = RECIPE.model_copy(update={"epochs": 4, "learning_rate": 1e-2})
    trainer = reward.RewardTrainer(model, recipe, rankings_by_count(120, token=50, seed=0), seed=0)
    while trainer.step < trainer.num_steps:
        trainer.update()
    after = reward.heldout_accuracy(model, heldout, readout="mean")
    assert abs(before.value - 0.5) < 0.3
    assert after.value > 0.9
    assert after.low > 0.8


def test_a_labeler_without_a_preference_teaches_nothing(make_model: MakeModel) -> None:
    model = make_model()
    trainer = reward.RewardTrainer(
        model, RECIPE, rankings_by_count(80, token=50, seed=0, noise=1000), seed=0
    )
    while trainer.step < trainer.num_steps:
        trainer.update()
    heldout = rankings_by_count(60, token=50, seed=1, noise=1000)
    found = reward.heldout_accuracy(model, heldout, readout="mean")
    assert found.low < 0.5 < found.high


def test_a_resumed_trainer_makes_the_step_it_would_have_made(
    make_model: MakeModel, tmp_path: Path
) -> None:
    rankings = rankings_by_count(16, token=50, seed=0)
    first = reward.RewardTrainer(model := make_model(), RECIPE, rankings, seed=0)
    first.update()
    first.save(tmp_path)
    first.update()
    second = reward.RewardTrainer(other := make_model(seed=9), RECIPE, rankings, seed=0)
    second.resume(tmp_path)
    assert second.step == 1
    second.update()
    torch.testing.assert_close(other.state(REWARD), model.state(REWARD), rtol=0, atol=0)


def test_a_judgement_of_weight_one_counts_as_before_and_one_of_zero_not_at_all(
    make_model: MakeModel,
) -> None:
    rankings = rankings_by_count(8, token=50, seed=0)
    ignored = [replace(r, weight=0.0) for r in rankings_by_count(8, token=70, seed=5)]
    recipe = RECIPE.model_copy(update={"rankings_per_step": 16, "grad_clip": 1e9})
    grads = {}
    for name, chosen in {
        "plain": [*rankings, *(replace(r, ranks=(1, 1, 1, 1)) for r in ignored)],
        "weighted": [*(replace(r, weight=1.0) for r in rankings), *ignored],
        "halved": [*(replace(r, weight=0.5) for r in rankings), *ignored],
    }.items():
        model = make_model()
        reward.RewardTrainer(model, recipe, chosen, seed=0).update()
        grads[name] = {k: p.grad.clone() for k, p in model.parameters(REWARD).items()}
    torch.testing.assert_close(grads["weighted"], grads["plain"], rtol=1e-4, atol=1e-6)
    half = {name: grad / 2 for name, grad in grads["plain"].items()}
    torch.testing.assert_close(grads["halved"], half, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("has_unit_std", [False, True])
def test_the_anchors_score_zero_on_average(make_model: MakeModel, has_unit_std: bool) -> None:
    model = make_model()
    randomise(model, REWARD)
    anchors = [ranking.group for ranking in rankings_by_count(20, token=50, seed=0)]
    before = _scores(reward.score_groups(model, anchors, readout="mean"))
    reward.normalise(model, anchors, readout="mean", has_unit_std=has_unit_std)
    after = _scores(reward.score_groups(model, anchors, readout="mean"))
    assert after.mean().item() == pytest.approx(0, abs=1e-5)
    wanted = 1.0 if has_unit_std else before.std(unbiased=False).item()
    assert after.std(unbiased=False).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_padding_and_neighbours_do_not_change_a_score(
    make_model: MakeModel, readout: Readout
) -> None:
    model = make_model()
    randomise(model, REWARD)
    groups = [
        Group(prompt_ids=(10, 11), answers=((50, 51, 52), (53,))),
        Group(prompt_ids=(12,) * 9, answers=((54,) * 12,)),
    ]
    together = reward.score_groups(model, groups, readout=readout)
    for group, scores in zip(groups, together, strict=True):
        for answer, found in zip(group.answers, scores, strict=True):
            alone = pack([Group(prompt_ids=group.prompt_ids, answers=(answer,))])
            wanted = reward.score(model, alone, readout=readout).item()
            assert found == pytest.approx(wanted, abs=1e-4)


def test_the_value_model_starts_as_the_reward_model(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    randomise(model, REWARD)
    reward.save(model, tmp_path)
    reward.load_into(model, tmp_path, name=VALUE)
    torch.testing.assert_close(model.state(VALUE), model.state(REWARD), rtol=0, atol=0)


def test_the_rate_ends_at_its_share() -> None:
    assert reward.cosine(0.0, final=0.1) == pytest.approx(1.0)
    assert reward.cosine(0.5, final=0.1) == pytest.approx(0.55)
    assert reward.cosine(1.0, final=0.1) == pytest.approx(0.1)


def _scores(nested: list[list[float]]) -> torch.Tensor:
    return torch.tensor([score for group in nested for score in group])
