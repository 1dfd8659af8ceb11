"""The reward model against the paper's formula, written out in NumPy and float64, one answer at a time."""

from __future__ import annotations

import random
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from tests.training.local_sampler import MakeModel, randomise
from tests.training.test_reward import RECIPE
from training import reward
from training.batches import Group, pack
from training.config import Readout
from training.data import Ranking
from training.losses import ranking_loss
from training.models import REWARD

Floats = npt.NDArray[np.float64]


def reference(scores_K: Floats, ranks: tuple[int, ...]) -> tuple[float, Floats]:
    """Eq. 1 of one ranking and its gradient: the mean of -log sigmoid(r_w - r_l) over its comparisons."""
    won = [(w, x) for w, x in permutations(range(len(ranks)), 2) if ranks[w] < ranks[x]]
    loss, gradient_K = 0.0, np.zeros(len(ranks))
    for winner, loser in won:
        odds = np.exp(-(scores_K[winner] - scores_K[loser]))
        loss += np.log1p(odds) / len(won)
        gradient_K[winner] -= odds / (1 + odds) / len(won)
        gradient_K[loser] += odds / (1 + odds) / len(won)
    return loss, gradient_K


def some_rankings(seed: int, *, count: int = 6) -> list[Ranking]:
    """Any K from 1 to 9, ties, all ties, weights, answers and prompts of any length."""
    rng = random.Random(seed)

    def ids(most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(10, 200) for _ in range(rng.randint(1, most)))

    found = []
    for number in range(count):
        k = rng.randint(1, 9)
        group = Group(prompt_ids=ids(9), answers=tuple(ids(6) for _ in range(k)))
        ranks = tuple(rng.randint(1, rng.choice([1, 3, 9])) for _ in range(k))
        found.append(Ranking(id=str(number), group=group, ranks=ranks, weight=rng.random()))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_loss_and_its_gradient_are_the_paper_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rankings = some_rankings(seed)
    scores = [rng.normal(size=len(r.ranks)) * 3 for r in rankings]
    wanted = [reference(s, r.ranks) for s, r in zip(scores, rankings, strict=True)]

    scores_CK = pad_sequence([torch.tensor(s) for s in scores], batch_first=True).requires_grad_()
    ranks_CK = pad_sequence([torch.tensor(r.ranks) for r in rankings], batch_first=True)
    losses_C = ranking_loss(scores_CK, ranks_CK=ranks_CK)
    weights_C = torch.tensor([r.weight for r in rankings], dtype=torch.float64)
    (losses_C * weights_C).sum().backward()
    assert scores_CK.grad is not None
    for c, (ranking, (loss, gradient_K)) in enumerate(zip(rankings, wanted, strict=True)):
        k = len(ranking.ranks)
        assert losses_C[c].item() == pytest.approx(loss, rel=1e-12, abs=1e-15)
        np.testing.assert_allclose(
            scores_CK.grad[c, :k].numpy(), ranking.weight * gradient_K, rtol=1e-9, atol=1e-14
        )
        assert scores_CK.grad[c, k:].eq(0).all()


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_s_gradient_is_that_of_every_answer_scored_alone(
    make_model: MakeModel, readout: Readout, seed: int
) -> None:
    """Rankings of any K share passes, answers share prompts; nobody notices."""
    rankings = some_rankings(seed)
    recipe = RECIPE.model_copy(
        update={"readout": readout, "rankings_per_step": len(rankings), "grad_clip": 1e9}
    )
    model, alone = make_model(tokens_per_pass=80), make_model()
    for one in (model, alone):
        randomise(one, REWARD)
    trainer = reward.RewardTrainer(model, recipe, rankings, seed=0)
    found = trainer.update()

    loss = 0.0
    for ranking in rankings:
        prompt = ranking.group.prompt_ids
        scores = [
            reward.score(alone, pack([Group(prompt_ids=prompt, answers=(a,))]), readout=readout)
            for a in ranking.group.answers
        ]
        values = np.array([s.item() for s in scores])
        of_ranking, gradient_K = reference(values, ranking.ranks)
        share = ranking.weight / len(rankings)
        loss += share * of_ranking
        sum(g * s for g, s in zip(share * gradient_K, scores, strict=True)).sum().backward()
    assert found["reward/loss"] == pytest.approx(loss, rel=1e-4)
    wanted = {name: p.grad for name, p in alone.parameters(REWARD).items()}
    for name, parameter in model.parameters(REWARD).items():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("ranks", [(1,), (1, 1, 1)])
def test_a_batch_without_a_comparison_changes_nothing(
    make_model: MakeModel, ranks: tuple[int, ...]
) -> None:
    model = make_model()
    before = model.state(REWARD)
    group = Group(prompt_ids=(10,), answers=((11, 12),) * len(ranks))
    trainer = reward.RewardTrainer(
        model, RECIPE, [Ranking(id="a", group=group, ranks=ranks)], seed=0
    )
    assert trainer.update()["reward/loss"] == 0
    torch.testing.assert_close(model.state(REWARD), before, rtol=0, atol=0)
