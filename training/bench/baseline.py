"""The straightforward PPO iteration: four whole models in float32, a padded row per answer, full logits.

What one would write first, and on purpose: it shares nothing with `experience`, `learner`, `batches`, `shared`
and `logprobs`, so that it is also their reference. Only the formulas are the same (`losses`).
Shapes: B answers, T positions of prompt and answer, R response positions, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import peft
import torch
from torch import Tensor, nn

from training import losses
from training.config import AdapterRecipe, PPORecipe, Readout
from training.models import POLICY, REWARD, VALUE, Models, ScalarHead
from training.phases import phase
from training.rollouts import Rollout

_PAD = 0


@dataclass(frozen=True, kw_only=True)
class FourModels:
    policy: Any
    reference: Any
    value: Any
    reward: Any
    value_head: ScalarHead
    reward_head: ScalarHead

    def trained(self) -> dict[str, dict[str, nn.Parameter]]:
        """Of policy and value model, named as `Models.parameters` names them."""
        head = {f"head.{name}": p for name, p in self.value_head.named_parameters()}
        return {POLICY: _adapter(self.policy), VALUE: _adapter(self.value) | head}


def four_models(base: Any, *, recipe: AdapterRecipe, like: Models | None = None) -> FourModels:
    """Four copies of a float32 model with adapters where the recipe wants them.

    `like`: take the adapters and heads of these models, else fresh ones.
    """
    adapted = {name: _with_adapter(base, recipe) for name in (POLICY, VALUE, REWARD)}
    heads = {name: ScalarHead(base.config.hidden_size) for name in (VALUE, REWARD)}
    for name, model in adapted.items():
        if like is not None:
            _copy(like.parameters(name), _adapter(model))
        if like is not None and name in heads:
            heads[name].load_state_dict(like.heads[name].state_dict())
    device = next(base.parameters()).device
    return FourModels(
        policy=adapted[POLICY],
        reference=copy.deepcopy(base).eval(),
        value=adapted[VALUE],
        reward=adapted[REWARD],
        value_head=heads[VALUE].to(device),
        reward_head=heads[REWARD].to(device),
    )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One row per answer: prompt padded on the left, answer on the right."""

    ids_BT: Tensor
    mask_BT: Tensor  # real tokens
    positions_BT: Tensor
    answers_BR: Tensor
    mask_BR: Tensor
    engine_logprobs_BR: Tensor
    has_ended_B: Tensor


@dataclass(frozen=True, kw_only=True)
class Scored:
    batch: Batch
    logprobs_BR: Tensor
    ref_logprobs_BR: Tensor
    values_BR: Tensor
    scores_B: Tensor


class Baseline:
    """`iteration` is a whole one; `gradients` leaves the losses' gradients in the buffers."""

    def __init__(self, models: FourModels, recipe: PPORecipe, *, readout: Readout) -> None:
        self._models = models
        self._recipe = recipe
        self._readout = readout
        self._trained = models.trained()
        self._adam = torch.optim.Adam(
            [{"params": list(weights.values())} for weights in self._trained.values()],
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_eps,
        )

    def iteration(
        self, rollouts: Sequence[Rollout], examples: Sequence[tuple[int, ...]]
    ) -> dict[str, float]:
        """Score everything, then one optimizer step per minibatch; returns the last one's losses."""
        size = self._recipe.episodes_per_minibatch // self._recipe.answers_per_prompt
        parts = [rollouts[start : start + size] for start in range(0, len(rollouts), size)]
        scored = [self.score(batch_of(part, device=self._device)) for part in parts]
        targets = self.targets(scored)
        found: dict[str, float] = {}
        for minibatch, (advantages_BR, returns_BR) in zip(scored, targets, strict=True):
            self._adam.zero_grad()
            found = self.gradients(
                minibatch, advantages_BR=advantages_BR, returns_BR=returns_BR, examples=examples
            )
            with phase("optimizer"):
                for weights in self._trained.values():
                    nn.utils.clip_grad_norm_(weights.values(), self._recipe.grad_clip)
                self._adam.step()
        return found

    @torch.no_grad()
    def score(self, batch: Batch) -> Scored:
        with phase("score/policy"):
            logprobs_BR = self._logprobs(self._models.policy, batch)
        with phase("score/reference"):
            ref_logprobs_BR = self._logprobs(self._models.reference, batch)
        with phase("score/value"):
            values_BR = self._values(batch)
        with phase("score/reward"):
            scores_B = self._scores(batch)
        return Scored(
            batch=batch,
            logprobs_BR=logprobs_BR,
            ref_logprobs_BR=ref_logprobs_BR,
            values_BR=values_BR,
            scores_B=scores_B,
        )

    def targets(self, scored: Sequence[Scored]) -> list[tuple[Tensor, Tensor]]:
        """Advantages, whitened over all minibatches, and returns."""
        found = [self._advantages(minibatch) for minibatch in scored]
        real = torch.cat([a[s.batch.mask_BR] for (a, _), s in zip(found, scored, strict=True)])
        mean, std = real.mean(), real.std(unbiased=False)
        return [((a - mean) / (std + 1e-8), returns_BR) for a, returns_BR in found]

    def gradients(
        self,
        scored: Scored,
        *,
        advantages_BR: Tensor,
        returns_BR: Tensor,
        examples: Sequence[tuple[int, ...]],
    ) -> dict[str, float]:
        recipe, batch = self._recipe, scored.batch
        mask_BR = batch.mask_BR
        num_tokens = int(mask_BR.sum())
        with phase("train/policy"):
            policy = losses.policy_loss(
                self._logprobs(self._models.policy, batch)[mask_BR],
                old_logprobs_N=scored.logprobs_BR[mask_BR],
                advantages_N=advantages_BR[mask_BR],
                weights_N=losses.engine_weights(
                    scored.logprobs_BR,
                    engine_logprobs=batch.engine_logprobs_BR,
                    minimum=recipe.importance_weight_min,
                    maximum=recipe.importance_weight_max,
                )[mask_BR],
                cliprange=recipe.cliprange,
                num_tokens=num_tokens,
            )
            policy.loss.backward()
        with phase("train/value"):
            value = losses.value_loss(
                self._values(batch)[mask_BR],
                old_values_N=scored.values_BR[mask_BR],
                returns_N=returns_BR[mask_BR],
                cliprange_value=recipe.cliprange_value,
                num_tokens=num_tokens,
            )
            value.loss.backward()
        found = {"ppo/policy/loss": policy.loss.item(), "ppo/val/loss": value.loss.item()}
        if examples:
            with phase("train/ptx"):
                ptx = self._ptx_loss(examples)
                (recipe.ptx_coef * ptx).backward()
            found["ppo/ptx_loss"] = ptx.item()
        return found

    # Private

    @property
    def _device(self) -> torch.device:
        return self._models.value_head.weight.device

    def _advantages(self, scored: Scored) -> tuple[Tensor, Tensor]:
        recipe, batch = self._recipe, scored.batch
        was_cut_B = (~batch.has_ended_B).float()
        rewards_BR = losses.kl_rewards(
            scored.scores_B - recipe.missing_eos_penalty * was_cut_B,
            logprobs_BR=scored.logprobs_BR,
            ref_logprobs_BR=scored.ref_logprobs_BR,
            mask_BR=batch.mask_BR,
            kl_coef=recipe.kl_coef,
        )
        return losses.advantages(
            rewards_BR,
            values_BR=scored.values_BR,
            mask_BR=batch.mask_BR,
            gamma=recipe.gamma,
            gae_lambda=recipe.gae_lambda,
        )

    def _logprobs(self, model: Any, batch: Batch) -> Tensor:
        logits_BTV = _forward(model, batch).logits
        num_answer = batch.answers_BR.shape[1]
        logprobs_BRV = logits_BTV[:, -num_answer - 1 : -1].log_softmax(-1)
        return logprobs_BRV.gather(2, batch.answers_BR[..., None])[..., 0]

    def _values(self, batch: Batch) -> Tensor:
        hidden_BTD = _last_hidden(self._models.value, batch)
        num_answer = batch.answers_BR.shape[1]
        return self._models.value_head(hidden_BTD[:, -num_answer - 1 : -1])

    def _scores(self, batch: Batch) -> Tensor:
        hidden_BTD = _last_hidden(self._models.reward, batch)
        scores_BR = self._models.reward_head(hidden_BTD[:, -batch.answers_BR.shape[1] :])
        if self._readout == "mean":
            return (scores_BR * batch.mask_BR).sum(1) / batch.mask_BR.sum(1)
        return scores_BR.gather(1, batch.mask_BR.sum(1, keepdim=True) - 1)[:, 0]

    def _ptx_loss(self, examples: Sequence[tuple[int, ...]]) -> Tensor:
        ids_BT = torch.tensor(examples, device=self._device)
        logits_BTV = self._models.policy(ids_BT).logits
        return nn.functional.cross_entropy(
            logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten()
        )


def batch_of(rollouts: Sequence[Rollout], *, device: torch.device) -> Batch:
    """Every answer behind its own copy of the prompt."""
    prompts = [r.group.prompt_ids for r in rollouts for _ in r.group.answers]
    answers = [answer for r in rollouts for answer in r.group.answers]
    logprobs = [answer for r in rollouts for answer in r.logprobs]
    widest_prompt, widest_answer = max(map(len, prompts)), max(map(len, answers))
    ids, masks, engine = [], [], []
    for prompt, answer, said in zip(prompts, answers, logprobs, strict=True):
        left, right = widest_prompt - len(prompt), widest_answer - len(answer)
        ids.append([_PAD] * left + [*prompt, *answer] + [_PAD] * right)
        masks.append([0] * left + [1] * (len(prompt) + len(answer)) + [0] * right)
        engine.append([*said] + [0.0] * right)
    ids_BT, mask_BT = torch.tensor(ids), torch.tensor(masks)
    return Batch(
        ids_BT=ids_BT.to(device),
        mask_BT=mask_BT.to(device),
        positions_BT=(mask_BT.cumsum(1) - 1).clamp(min=0).to(device),
        answers_BR=ids_BT[:, -widest_answer:].to(device),
        mask_BR=mask_BT[:, -widest_answer:].bool().to(device),
        engine_logprobs_BR=torch.tensor(engine, device=device),
        has_ended_B=torch.tensor([e for r in rollouts for e in r.ended], device=device),
    )


def _forward(model: Any, batch: Batch, **options: Any) -> Any:
    return model(
        input_ids=batch.ids_BT,
        attention_mask=batch.mask_BT,
        position_ids=batch.positions_BT,
        use_cache=False,
        **options,
    )


def _last_hidden(model: Any, batch: Batch) -> Tensor:
    return _forward(model.base_model.model.model, batch).last_hidden_state


def _with_adapter(base: Any, recipe: AdapterRecipe) -> Any:
    num_layers = base.config.num_hidden_layers
    first = max(0, num_layers - recipe.num_adapted_layers)
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules),
        layers_to_transform=list(range(first, num_layers)),
    )
    return peft.get_peft_model(copy.deepcopy(base), lora).eval()


def _adapter(model: Any) -> dict[str, nn.Parameter]:
    named = model.named_parameters()
    return {name.replace(".default.", "."): p for name, p in named if "lora_" in name}


@torch.no_grad()
def _copy(source: dict[str, nn.Parameter], target: dict[str, nn.Parameter]) -> None:
    for name, parameter in target.items():
        parameter.copy_(source[name])
