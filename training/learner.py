"""PPO-ptx's update: policy, value and pretraining gradients, one optimizer step per minibatch (eq. 2)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from feedback.errors import HoneError
from training import checkpoint, parallel
from training.batches import passes, rows
from training.checkpoint import Checkpoint
from training.config import PPORecipe
from training.data import choose
from training.experience import Experience, Pass, response_logprobs, token_values
from training.losses import engine_weights, policy_loss, value_loss
from training.models import POLICY, VALUE, Models
from training.phases import phase

# Before the first step of a batch the ratio is 1 but for rounding: the same passes, the same weights.
_MAX_FIRST_KL_NATS = 1e-3


class RatioError(HoneError):
    """Before the first update of a batch, the policy is not the one that was scored."""


class Learner:
    """Trains the policy and the value model."""

    def __init__(
        self,
        model: Models,
        recipe: PPORecipe,
        *,
        pretraining: Sequence[tuple[int, ...]],
        seed: int,
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._pretraining = pretraining
        self._seed = seed
        self._policy = model.parameters(POLICY)
        self._value = model.parameters(VALUE)
        self._adam = torch.optim.Adam(
            [{"params": list(self._policy.values())}, {"params": list(self._value.values())}],
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_eps,
        )
        self._average = model.state(POLICY) if recipe.ema_decay else None

    @property
    def candidate(self) -> dict[str, Tensor]:
        """The policy to publish: the moving average if the recipe has one, else the last weights."""
        return self._average or self._model.state(POLICY)

    def update(self, experience: Experience, *, iteration: int) -> dict[str, float]:
        """All minibatches of one rollout batch; returns the mean of their metrics.

        Raises RatioError when the first minibatch is not on-policy.
        """
        rates = learning_rates(self._recipe, iteration=iteration)
        for group, rate in zip(self._adam.param_groups, rates, strict=True):
            group["lr"] = rate
        metrics: dict[str, list[float]] = defaultdict(list)
        for epoch in range(self._recipe.inner_epochs):
            order = list(range(len(experience.minibatches)))
            random.Random(f"{self._seed}/{iteration}/{epoch}").shuffle(order)
            for number, index in enumerate(order):
                turn = iteration * len(order) + number
                values = self._step(experience.minibatches[index], turn=turn, epoch=epoch)
                if epoch == 0 and number == 0:
                    _check_first(values)
                for name, value in values.items():
                    metrics[name].append(value)
        means = {name: sum(values) / len(values) for name, values in metrics.items()}
        return means | {"ppo/lr": rates[0]}

    def gradients(
        self, minibatch: Sequence[Pass], *, examples: Sequence[tuple[int, ...]]
    ) -> dict[str, float]:
        """Add the gradients of a minibatch and its pretraining examples to the buffers."""
        metrics = self._rl_gradients(minibatch)
        if examples and self._recipe.ptx_coef:
            with phase("train/ptx"):
                metrics["ppo/ptx_loss"] = self._ptx_gradients(examples)
        return metrics

    def state(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on, as named tensors."""
        tensors = checkpoint.with_prefix("policy", self._model.state(POLICY))
        tensors |= checkpoint.with_prefix("value", self._model.state(VALUE))
        tensors |= checkpoint.adam_state(self._adam, self._named())
        if self._average is not None:
            tensors |= checkpoint.with_prefix("average", self._average)
        return tensors

    def load_state(self, found: Checkpoint) -> None:
        """What `state` saved."""
        self._model.load_state(POLICY, checkpoint.without_prefix("policy", found.tensors))
        self._model.load_state(VALUE, checkpoint.without_prefix("value", found.tensors))
        checkpoint.load_adam_state(self._adam, self._named(), found.tensors)
        if self._average is not None:
            self._average = checkpoint.without_prefix("average", found.tensors)

    def _named(self) -> Mapping[str, torch.nn.Parameter]:
        named = {f"policy/{name}": parameter for name, parameter in self._policy.items()}
        return named | {f"value/{name}": parameter for name, parameter in self._value.items()}

    def _step(self, minibatch: Sequence[Pass], *, turn: int, epoch: int) -> dict[str, float]:
        count = round(self._recipe.episodes_per_minibatch * self._recipe.ptx_examples_per_episode)
        examples = (
            choose(self._pretraining, count=count, seed=self._seed + epoch, turn=turn)
            if count
            else []
        )
        self._adam.zero_grad()
        metrics = self.gradients(minibatch, examples=examples)
        # Two models, two norms: a wild value loss must not shrink the policy's step.
        for name, weights in (("policy", self._policy), ("val", self._value)):
            parallel.sum_gradients(weights.values())
            metrics[f"ppo/{name}/grad_norm"] = parallel.clip_gradients(
                weights.values(), max_norm=self._recipe.grad_clip
            )
        with phase("optimizer"):
            self._adam.step()
            self._tick_average()
        return metrics

    def _rl_gradients(self, minibatch: Sequence[Pass]) -> dict[str, float]:
        recipe = self._recipe
        counts = {"tokens": float(sum(one.num_tokens for one in minibatch))}
        num_tokens = int(parallel.totals(counts, device=self._model.device)["tokens"])
        sums: dict[str, float] = defaultdict(float)
        for one in minibatch:
            with phase("train/policy"):
                logprobs_N = response_logprobs(self._model, one.packed, one.trunk_BT, name=POLICY)
                policy = policy_loss(
                    logprobs_N,
                    old_logprobs_N=one.logprobs_N,
                    advantages_N=one.advantages_N,
                    weights_N=engine_weights(
                        one.logprobs_N,
                        engine_logprobs=one.engine_logprobs_N,
                        minimum=recipe.importance_weight_min,
                        maximum=recipe.importance_weight_max,
                    ),
                    cliprange=recipe.cliprange,
                    num_tokens=num_tokens,
                )
                policy.loss.backward()
            with phase("train/value"):
                value = value_loss(
                    token_values(self._model, one.packed, one.trunk_BT),
                    old_values_N=one.values_N,
                    returns_N=one.returns_N,
                    cliprange_value=recipe.cliprange_value,
                    num_tokens=num_tokens,
                )
                value.loss.backward()
            sums["ppo/policy/loss"] += policy.loss.item()
            sums["ppo/policy/clipfrac"] += policy.clipfrac.item()
            sums["ppo/policy/approxkl"] += policy.approxkl.item()
            sums["ppo/policy/ratio"] += policy.ratio.item()
            sums["ppo/val/loss"] += value.loss.item()
            sums["ppo/val/clipfrac"] += value.clipfrac.item()
        return parallel.totals(dict(sums), device=self._model.device)

    def _ptx_gradients(self, examples: Sequence[tuple[int, ...]]) -> float:
        """gamma times the mean loss per token of pretraining text; returns the loss without gamma."""
        num_tokens = sum(len(example) - 1 for example in examples)
        total = 0.0
        for loss in pretraining_losses(self._model, parallel.share(examples), name=POLICY):
            (self._recipe.ptx_coef * loss / num_tokens).backward()
            total += loss.item()
        return parallel.totals({"loss": total}, device=self._model.device)["loss"] / num_tokens

    @torch.no_grad()
    def _tick_average(self) -> None:
        if self._average is None:
            return
        for name, parameter in self._policy.items():
            self._average[name].lerp_(parallel.whole(parameter), 1 - self._recipe.ema_decay)


def pretraining_losses(
    model: Models, examples: Sequence[tuple[int, ...]], *, name: str
) -> Iterator[Tensor]:
    """Negative log-likelihood, summed over the tokens of a pass, of pass after pass."""
    lengths = [len(example) for example in examples]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        part = [examples[i] for i in indices]
        layout = rows(part).to(model.device)
        hidden_BTD = model.top(model.trunk(layout), layout, name=name)
        lengths_B = torch.tensor([len(example) for example in part], device=model.device)
        is_predicted_BT = layout.positions_BT[:, 1:] < lengths_B[:, None]
        yield -model.logprobs(
            hidden_BTD[:, :-1][is_predicted_BT],
            targets_N=layout.ids_BT[:, 1:][is_predicted_BT],
            name=name,
        ).sum()


def learning_rates(recipe: PPORecipe, *, iteration: int) -> tuple[float, float]:
    """Of policy and value: linear warm-up from `warmup_start`, then constant."""
    progress = min(1.0, iteration / recipe.warmup_iterations) if recipe.warmup_iterations else 1.0
    factor = recipe.warmup_start + (1 - recipe.warmup_start) * progress
    return recipe.learning_rate * factor, recipe.value_learning_rate * factor


def _check_first(values: Mapping[str, float]) -> None:
    if values["ppo/policy/approxkl"] > _MAX_FIRST_KL_NATS or values["ppo/policy/clipfrac"] > 0:
        raise RatioError(
            "the first minibatch of a batch is off-policy: approxkl "
            f"{values['ppo/policy/approxkl']:.2g}, clipfrac {values['ppo/policy/clipfrac']:.2g}, "
            f"ratio {values['ppo/policy/ratio']:.4f}; weights changed between scoring and training"
        )
