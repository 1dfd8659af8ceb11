from __future__ import annotations

import math

import pytest
import torch

from training.losses import (
    advantages,
    engine_weights,
    kl_rewards,
    policy_loss,
    ranking_loss,
    value_loss,
    whiten,
)


def pairwise(scores: list[float], ranks: list[int]) -> float:
    """Eq. 1 written as the paper writes it: a loop over pairs, ties dropped."""
    losses = [
        -math.log(1 / (1 + math.exp(-(scores[i] - scores[j]))))
        for i in range(len(ranks))
        for j in range(len(ranks))
        if ranks[i] < ranks[j]
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("ranks", [[1, 2, 3, 4], [2, 1, 2, 3], [1, 1, 1, 2], [4, 3, 1, 2]])
def test_ranking_loss_is_the_mean_over_all_pairs_that_are_no_tie(ranks: list[int]) -> None:
    scores = [0.3, -1.2, 2.0, 0.1]
    loss = ranking_loss(torch.tensor([scores]), ranks_CK=torch.tensor([ranks]))
    assert loss.item() == pytest.approx(pairwise(scores, ranks), abs=1e-6)


def test_a_padded_ranking_has_the_loss_of_the_short_one() -> None:
    loss = ranking_loss(
        torch.tensor([[0.5, -0.5, 9.0], [0.5, -0.5, 0.2]]),
        ranks_CK=torch.tensor([[2, 1, 0], [2, 1, 3]]),
    )
    assert loss[0].item() == pytest.approx(pairwise([0.5, -0.5], [2, 1]), abs=1e-6)
    assert loss[1].item() == pytest.approx(pairwise([0.5, -0.5, 0.2], [2, 1, 3]), abs=1e-6)


def test_a_ranking_of_ties_alone_costs_nothing_and_has_no_gradient() -> None:
    scores = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = ranking_loss(scores, ranks_CK=torch.tensor([[1, 1]]))
    loss.sum().backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert scores.grad.abs().max() == 0


def test_the_score_falls_on_the_last_real_token_and_every_token_pays_its_log_ratio() -> None:
    rewards = kl_rewards(
        torch.tensor([1.0, 5.0]),
        logprobs_BR=torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]]),
        ref_logprobs_BR=torch.tensor([[-2.0, -2.0, -1.0], [-4.0, 7.0, 7.0]]),
        mask_BR=torch.tensor([[True, True, True], [True, False, False]]),
        kl_coef=0.1,
    )
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 0.0, 1.2], [4.7, 0.0, 0.0]]))


def test_advantages_equal_the_double_sum_of_their_definition() -> None:
    torch.manual_seed(0)
    lengths, width, gamma, lam = [5, 2, 4], 5, 0.9, 0.8
    rewards, values = torch.randn(3, width), torch.randn(3, width)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    rewards = rewards * mask
    found, returns = advantages(
        rewards, values_BR=values, mask_BR=mask, gamma=gamma, gae_lambda=lam
    )
    for row, length in enumerate(lengths):
        deltas = [
            rewards[row, t] + (gamma * values[row, t + 1] if t + 1 < length else 0) - values[row, t]
            for t in range(length)
        ]
        for t in range(length):
            wanted = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length))
            assert found[row, t] == pytest.approx(float(wanted), abs=1e-5)
            assert returns[row, t] == pytest.approx(float(wanted + values[row, t]), abs=1e-5)
    assert found[~mask].abs().max() == 0


def test_whitening_looks_at_real_tokens_only() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    white = whiten(torch.tensor([[1.0, 2.0, 99.0], [3.0, 99.0, 99.0]]), mask_BR=mask)
    assert white[mask].mean() == pytest.approx(0, abs=1e-6)
    assert white[mask].std(unbiased=False) == pytest.approx(1, abs=1e-5)
    assert white[~mask].abs().max() == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, 0.0),
        (1.5, 2.0, -2.4, 1.0),  # a gain is cut at 1 + cliprange
        (0.5, 2.0, -1.0, 0.0),
        (0.5, -2.0, 1.6, 1.0),
        (1.5, -2.0, 3.0, 0.0),  # a loss is not
    ],
)
def test_policy_loss_is_pessimistic(
    ratio: float, advantage: float, loss: float, clipped: float
) -> None:
    found = policy_loss(
        torch.tensor([math.log(ratio)]),
        old_logprobs_N=torch.tensor([0.0]),
        advantages_N=torch.tensor([advantage]),
        weights_N=torch.tensor([1.0]),
        cliprange=0.2,
        num_tokens=1,
    )
    assert found.loss.item() == pytest.approx(loss, abs=1e-5)
    assert found.clipfrac.item() == clipped
    assert found.approxkl.item() == pytest.approx(math.log(ratio) ** 2 / 2, abs=1e-6)


def test_value_loss_takes_the_worse_of_the_clipped_and_the_plain_error() -> None:
    found = value_loss(
        torch.tensor([1.0, 0.1]),
        old_values_N=torch.tensor([0.0, 0.0]),
        returns_N=torch.tensor([1.0, 1.0]),
        cliprange_value=0.2,
        num_tokens=2,
    )
    assert found.loss.item() == pytest.approx((0.8**2 + 0.9**2) / 2 / 2, abs=1e-6)
    assert found.clipfrac.item() == 0.5


def test_engine_weights_are_the_truncated_probability_ratio() -> None:
    weights = engine_weights(
        torch.tensor([0.0, 0.0, 0.0]),
        engine_logprobs=torch.tensor([0.1, 5.0, -5.0]),
        minimum=0.5,
        maximum=5.0,
    )
    torch.testing.assert_close(weights, torch.tensor([math.exp(-0.1), 0.5, 5.0]))
