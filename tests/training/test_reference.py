"""PPO's arithmetic against plain NumPy in float64, token by token in Python loops, on random batches.

Written from the paper's eq. 2 and the definitions alone; nothing is shared with `training.losses`.
Gradients are compared with central differences of the NumPy losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.local_sampler import MakeModel, randomise
from training import losses
from training.batches import rectangle, rows
from training.config import load_recipe
from training.learner import Learner
from training.models import POLICY, Models

Numbers = NDArray[np.float64]
Ragged = list[list[float]]  # one list per answer
KL_COEF, GAMMA, LAMBDA, CLIP, VALUE_CLIP = 0.3, 0.97, 0.9, 0.2, 0.25
WEIGHT_MIN, WEIGHT_MAX, PTX_COEF = 0.5, 5.0, 1.7
SEEDS = range(5)


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """A random batch: answers of unlike lengths."""

    scores: list[float]
    old_logprobs: Ragged
    new_logprobs: Ragged
    ref_logprobs: Ragged
    engine_logprobs: Ragged
    old_values: Ragged
    new_values: Ragged

    @property
    def lengths(self) -> list[int]:
        return [len(answer) for answer in self.old_logprobs]

    @property
    def num_tokens(self) -> int:
        return sum(self.lengths)


def episodes(seed: int) -> Episodes:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, size=7)

    def around(center: Ragged, spread: float) -> Ragged:
        return [[x + spread * rng.normal() for x in answer] for answer in center]

    old = [list(-2 + 0.7 * rng.normal(size=n)) for n in lengths]
    values = [list(rng.normal(size=n)) for n in lengths]
    return Episodes(
        scores=list(rng.normal(size=len(lengths))),
        old_logprobs=old,
        new_logprobs=around(old, 0.3),
        ref_logprobs=around(old, 0.5),
        engine_logprobs=around(old, 1.5),  # so that some weights are truncated
        old_values=values,
        new_values=around(values, 0.4),
    )


# The reference


def expected_rewards(batch: Episodes) -> Ragged:
    rewards = []
    for score, policy, reference in zip(
        batch.scores, batch.old_logprobs, batch.ref_logprobs, strict=True
    ):
        answer = [-KL_COEF * (p - r) for p, r in zip(policy, reference, strict=True)]
        answer[-1] += score
        rewards.append(answer)
    return rewards


def expected_advantages(rewards: Ragged, values: Ragged) -> Ragged:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, summed as it is written."""
    found = []
    for answer, value in zip(rewards, values, strict=True):
        ahead = [*value[1:], 0.0]
        deltas = [r + GAMMA * next_v - v for r, v, next_v in zip(answer, value, ahead, strict=True)]
        found.append(
            [
                sum(
                    (GAMMA * LAMBDA) ** (later - t) * deltas[later]
                    for later in range(t, len(deltas))
                )
                for t in range(len(deltas))
            ]
        )
    return found


def flat(ragged: Ragged) -> Numbers:
    return np.array([x for answer in ragged for x in answer], dtype=np.float64)


def whitened(advantages: Numbers) -> Numbers:
    return (advantages - np.mean(advantages)) / (np.std(advantages) + 1e-8)


def expected_policy_loss(new: Numbers, old: Numbers, engine: Numbers, advantages: Numbers) -> float:
    total = 0.0
    for n, o, e, a in zip(new, old, engine, advantages, strict=True):
        ratio = math.exp(n - o)
        objective = min(ratio * a, min(max(ratio, 1 - CLIP), 1 + CLIP) * a)
        total -= min(max(math.exp(o - e), WEIGHT_MIN), WEIGHT_MAX) * objective
    return total / len(new)


def expected_value_loss(new: Numbers, old: Numbers, returns: Numbers) -> float:
    total = 0.0
    for n, o, r in zip(new, old, returns, strict=True):
        near = min(max(n, o - VALUE_CLIP), o + VALUE_CLIP)
        total += max((n - r) ** 2, (near - r) ** 2) / 2
    return total / len(new)


def slopes(loss: Callable[[Numbers], float], at: Numbers) -> Numbers:
    """Central differences."""
    step = 1e-6
    found = np.zeros_like(at)
    for i in range(len(at)):
        up, down = at.copy(), at.copy()
        up[i] += step
        down[i] -= step
        found[i] = (loss(up) - loss(down)) / (2 * step)
    return found


# Ours, in float64 too, so that only the formulas differ


def tokens(ragged: Ragged) -> torch.Tensor:
    return torch.from_numpy(flat(ragged))


def padded(ragged: Ragged) -> torch.Tensor:
    return rectangle(tokens(ragged), lengths_E=torch.tensor([len(a) for a in ragged]))[0]


def mask_of(batch: Episodes) -> torch.Tensor:
    return rectangle(tokens(batch.old_logprobs), lengths_E=torch.tensor(batch.lengths))[1]


def our_rewards(batch: Episodes) -> torch.Tensor:
    return losses.kl_rewards(
        torch.tensor(batch.scores, dtype=torch.float64),
        logprobs_BR=padded(batch.old_logprobs),
        ref_logprobs_BR=padded(batch.ref_logprobs),
        mask_BR=mask_of(batch),
        kl_coef=KL_COEF,
    )


def our_advantages(batch: Episodes) -> tuple[torch.Tensor, torch.Tensor]:
    return losses.advantages(
        our_rewards(batch),
        values_BR=padded(batch.old_values),
        mask_BR=mask_of(batch),
        gamma=GAMMA,
        gae_lambda=LAMBDA,
    )


def assert_equal(found: torch.Tensor, wanted: Numbers | float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_rewards_advantages_and_whitening_equal_the_definitions(seed: int) -> None:
    batch = episodes(seed)
    mask = mask_of(batch)
    rewards = expected_rewards(batch)
    advantages = flat(expected_advantages(rewards, batch.old_values))
    found_advantages, found_returns = our_advantages(batch)
    assert_equal(our_rewards(batch)[mask], flat(rewards))
    assert_equal(found_advantages[mask], advantages)
    assert_equal(found_returns[mask], advantages + flat(batch.old_values))
    assert_equal(losses.whiten(found_advantages, mask_BR=mask)[mask], whitened(advantages))
    assert (found_advantages[~mask] == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_policy_loss_and_its_gradient_equal_the_definition(seed: int) -> None:
    batch = episodes(seed)
    old, engine = flat(batch.old_logprobs), flat(batch.engine_logprobs)
    advantages = whitened(flat(expected_advantages(expected_rewards(batch), batch.old_values)))
    new = tokens(batch.new_logprobs).requires_grad_()
    found = losses.policy_loss(
        new,
        old_logprobs_N=tokens(batch.old_logprobs),
        advantages_N=torch.from_numpy(advantages),
        weights_N=losses.engine_weights(
            tokens(batch.old_logprobs),
            engine_logprobs=tokens(batch.engine_logprobs),
            minimum=WEIGHT_MIN,
            maximum=WEIGHT_MAX,
        ),
        cliprange=CLIP,
        num_tokens=batch.num_tokens,
    )
    (gradient,) = torch.autograd.grad(found.loss, new)

    def expected(at: Numbers) -> float:
        return expected_policy_loss(at, old, engine, advantages)

    at = flat(batch.new_logprobs)
    assert_equal(found.loss, expected(at))
    np.testing.assert_allclose(gradient.numpy(), slopes(expected, at), atol=1e-7)
    ratios = np.exp(at - old)
    is_clipped = ((ratios > 1 + CLIP) & (advantages > 0)) | ((ratios < 1 - CLIP) & (advantages < 0))
    assert 0 < is_clipped.sum() < len(at)
    assert_equal(found.clipfrac.double(), float(np.float32(is_clipped.mean())))
    assert (gradient.numpy()[is_clipped] == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_loss_and_its_gradient_equal_the_definition(seed: int) -> None:
    batch = episodes(seed)
    old = flat(batch.old_values)
    returns = flat(expected_advantages(expected_rewards(batch), batch.old_values)) + old
    new = tokens(batch.new_values).requires_grad_()
    found = losses.value_loss(
        new,
        old_values_N=tokens(batch.old_values),
        returns_N=torch.from_numpy(returns),
        cliprange_value=VALUE_CLIP,
        num_tokens=batch.num_tokens,
    )
    (gradient,) = torch.autograd.grad(found.loss, new)

    def expected(at: Numbers) -> float:
        return expected_value_loss(at, old, returns)

    at = flat(batch.new_values)
    assert_equal(found.loss, expected(at))
    np.testing.assert_allclose(gradient.numpy(), slopes(expected, at), atol=1e-7)
    assert (np.abs(at - old) > VALUE_CLIP).any()


def expected_ptx_loss(model: Models, examples: list[tuple[int, ...]]) -> float:
    """Mean negative log-likelihood of every token but the first, by the full softmax."""
    found = []
    for example in examples:
        layout = rows([example])
        with torch.no_grad():
            hidden_TD = model.top(model.trunk(layout), layout, name=POLICY)[0].double().numpy()
        logits_TV = hidden_TD @ model.unembedding_VD.double().numpy().T  # type: ignore[attr-defined]
        for logits_V, token in zip(logits_TV[:-1], example[1:], strict=True):
            found.append(math.log(np.exp(logits_V).sum()) - logits_V[token])
    return sum(found) / len(found)


def test_pretraining_adds_its_coefficient_times_the_mean_loss_of_a_token(
    make_model: MakeModel,
) -> None:
    model = make_model()
    randomise(model, POLICY)
    examples = [tuple(range(start, start + 16)) for start in range(5, 60, 11)]
    recipe = load_recipe("tiny").ppo.model_copy(update={"ptx_coef": PTX_COEF})
    learner = Learner(model, recipe, pretraining=examples, seed=0)
    found = learner.gradients([], examples=examples)
    assert found["ppo/ptx_loss"] == pytest.approx(expected_ptx_loss(model, examples), rel=1e-5)

    # Along the gradient itself the loss climbs by its square.
    weights = list(model.parameters(POLICY).values())
    gradients = [w.grad.clone() for w in weights if w.grad is not None]
    assert len(gradients) == len(weights)
    square = sum(gradient.square().sum().item() for gradient in gradients)
    step = 0.02 / math.sqrt(square)
    there = []
    for sign in (1, -2):  # up, then as far down
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(sign * step * gradient)
        there.append(expected_ptx_loss(model, examples))
    slope = PTX_COEF * (there[0] - there[1]) / (2 * step)
    assert slope == pytest.approx(square, rel=0.01)
