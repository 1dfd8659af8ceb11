"""PPO's loop: sample, score, check, update, again and again.

With `[ppo] overlap` the engines sample the next batch while this one is learnt from:

    engines   | batch 1, from the weights before update 0 | batch 2, from those before update 1 | ...
    trainer   | score 0, update 0                         | score 1, update 1                   | ...

A batch is one step off-policy then and never more: old log-probabilities are taken by the trainer just
before the update, and the truncated importance weight corrects for who sampled.
"""

from __future__ import annotations

import json
import logging
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training import checkpoint, kl_control, parallel
from training.alarms import check_experience, check_gap, check_kl, check_metrics, standard_error
from training.batches import pack, passes
from training.config import PPORecipe, Recipe
from training.curves import Curves, Lines
from training.data import Prompt, choose
from training.experience import (
    Experience,
    Rewards,
    Scorer,
    engine_logprobs,
    gather,
    response_logprobs,
)
from training.learner import Learner
from training.losses import engine_weights, kl_rewards
from training.models import POLICY, REFERENCE, Models
from training.rollouts import Rollout
from training.samplers import Sampler
from training.shown import samples

log = logging.getLogger(__name__)

_GAP_PROMPTS = 64  # answers that a gap is measured on
_PROBE_TOKENS = 16  # of each, where the batch itself cannot be measured: overlap
_SHOWN = 2  # answers of an iteration for a person to read


class _Sampling:
    """Answers under way, and how long they took when they are there."""

    def __init__(self, answers: Future[list[Rollout]]) -> None:
        self._answers = answers
        self._started = self._ended = time.perf_counter()
        answers.add_done_callback(self._note_end)

    def result(self) -> list[Rollout]:
        return self._answers.result()

    @property
    def seconds(self) -> float:
        return self._ended - self._started

    def _note_end(self, _: Future[list[Rollout]]) -> None:
        self._ended = time.perf_counter()


@dataclass(kw_only=True)
class Trainer:
    """The loop's parts. `run_iteration` may be driven by a test with its own sampler and scorer."""

    model: Models
    recipe: PPORecipe
    learner: Learner
    sampler: Sampler
    scorer: Scorer
    prompts: Sequence[Prompt]
    seed: int
    gap_limit_nats: float = float("inf")
    rewards: Rewards = kl_rewards
    kl_coef: float = field(init=False)  # beta as it is now
    shown: list[dict[str, Any]] = field(default_factory=list, init=False)  # of the last iteration
    _ahead: _Sampling | None = field(default=None, init=False)  # the next iteration's, with overlap
    _probed_gap_nats: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.kl_coef = kl_control.first(self.recipe)

    def measure_gap(self) -> float:
        """RMS gap of engine and trainer on the reference's answers; sets the limit to twice that."""
        prompts = self._choose(min(_GAP_PROMPTS, len(self.prompts)), turn=0)
        rollouts = self.sampler.sample_reference(
            prompts, answers_per_prompt=1, max_tokens=self.recipe.response_tokens
        )
        gap = gap_nats(self.model, rollouts, name=REFERENCE)
        self.gap_limit_nats = max(2 * gap, self.recipe.engine_gap_floor_nats)
        return gap

    def run_iteration(self, iteration: int) -> dict[str, float]:
        """Sample, score, check, update; returns the metrics of the iteration. Raises Alarm."""
        started = time.perf_counter()
        recipe = self.recipe.model_copy(update={"kl_coef": self.kl_coef})
        sampling = self._sampling(iteration)
        rollouts = sampling.result()
        sampled = time.perf_counter()
        experience = gather(
            self.model,
            rollouts,
            scorer=self.scorer,
            recipe=recipe,
            seed=f"{self.seed}/{iteration}",
            rewards=self.rewards,
        )
        metrics = self._checked(experience, recipe, iteration)
        self.shown = samples(experience, rollouts, prompts=self.prompts, count=_SHOWN)
        scored = time.perf_counter()
        metrics |= self.learner.update(experience, iteration=iteration)
        check_metrics(metrics, iteration=iteration)
        self.kl_coef = kl_control.following(
            self.kl_coef, metrics["objective/kl"], recipe=self.recipe, iteration=iteration
        )
        ended = time.perf_counter()
        num_sampled = len(experience.everywhere("logprobs_N"))
        padded = {"tokens": float(sum(p.packed.layout.ids_BT.numel() for p in experience.passes))}
        num_tokens = parallel.totals(padded, device=self.model.device)["tokens"]
        return metrics | {
            "episode": (iteration + 1) * recipe.episodes_per_iteration,
            "time/wait_for_rollouts_s": sampled - started,
            "time/rollout_s": sampling.seconds,
            "time/score_s": scored - sampled,
            "time/train_s": ended - scored,
            "time/rollout_tokens_per_s": num_sampled / sampling.seconds,
            "time/train_tokens_per_s": num_tokens / (ended - sampled),
            "memory/peak_bytes": peak_memory_bytes(self.model.device),
        }

    def _sampling(self, iteration: int) -> _Sampling:
        """This iteration's answers; with overlap they are there, and the next ones are begun."""
        if not self.recipe.overlap:
            return self._begin(iteration)
        sampling = self._ahead or self._begin(iteration)
        sampling.result()  # the engines get other weights between two batches, not within one
        has_next = iteration + 1 < self.recipe.iterations
        self._ahead = self._begin(iteration + 1) if has_next else None
        return sampling

    def _begin(self, iteration: int) -> _Sampling:
        self.sampler.refresh(iteration)
        num_prompts = self.recipe.episodes_per_iteration // self.recipe.answers_per_prompt
        prompts = self._choose(num_prompts, turn=iteration)
        if self.recipe.overlap:
            self._probe(prompts[:_GAP_PROMPTS], iteration)
        answers = self.sampler.begin(
            prompts,
            answers_per_prompt=self.recipe.answers_per_prompt,
            max_tokens=self.recipe.response_tokens,
        )
        return _Sampling(answers)

    def _probe(self, prompts: Sequence[tuple[int, ...]], iteration: int) -> None:
        """Do the engines have the weights that the trainer has at this moment? The batch itself is
        scored one update later, when this cannot be seen any more."""
        max_tokens = min(_PROBE_TOKENS, self.recipe.response_tokens)
        rollouts = self.sampler.sample(prompts, answers_per_prompt=1, max_tokens=max_tokens)
        self._probed_gap_nats = gap_nats(self.model, rollouts, name=POLICY)
        check_gap(self._probed_gap_nats, limit_nats=self.gap_limit_nats, iteration=iteration)

    def _checked(
        self, experience: Experience, recipe: PPORecipe, iteration: int
    ) -> dict[str, float]:
        check_experience(experience, iteration=iteration)
        metrics = describe(experience, recipe=recipe)
        gap = self._probed_gap_nats if recipe.overlap else metrics["ppo/sampler_gap_nats"]
        check_gap(gap, limit_nats=self.gap_limit_nats, iteration=iteration)
        check_kl(experience, iteration=iteration, max_kl_nats=recipe.max_kl_nats)
        return metrics | {"ppo/engine_gap_nats": gap}

    def _choose(self, count: int, *, turn: int) -> list[tuple[int, ...]]:
        return [p.ids for p in choose(self.prompts, count=count, seed=self.seed, turn=turn)]


def train(
    trainer: Trainer,
    *,
    folder: Path,
    curves: Curves,
    recipe: Recipe,
    check_mine: Callable[[], None],
) -> None:
    """All iterations that are not done yet."""
    found = checkpoint.latest(folder)
    start = 0
    if found is None:
        gap = trainer.measure_gap()
    else:
        trainer.learner.load_state(found)
        trainer.kl_coef = found.facts["kl_coef"]
        start, gap = found.number, found.facts["reference_gap_nats"]
        trainer.gap_limit_nats = max(2 * gap, recipe.ppo.engine_gap_floor_nats)
    shown = Lines(curves.path.with_name("samples.jsonl"), step="ppo")
    curves.rewind(start)
    shown.rewind(start)
    for iteration in range(start, recipe.ppo.iterations):
        metrics = trainer.run_iteration(iteration)
        check_mine()
        progress = (iteration + 1) / recipe.ppo.iterations
        curves.append(iteration, metrics | {"ppo/progress": progress})
        for sample in trainer.shown:
            shown.append(iteration, sample)
            log.info("sample %s", json.dumps(sample))
        is_last = iteration + 1 == recipe.ppo.iterations
        if is_last or (iteration + 1) % recipe.ppo.checkpoint_every == 0:
            facts = {"reference_gap_nats": gap, "kl_coef": trainer.kl_coef}
            tensors = trainer.learner.state()
            checkpoint.save(folder, number=iteration + 1, tensors=tensors, facts=facts)


@torch.no_grad()
def gap_nats(model: Models, rollouts: Sequence[Rollout], *, name: str) -> float:
    """RMS of trainer's less engine's log-probability over answers of one model, nats per token."""
    gaps = []
    lengths = [len(rollout.group) for rollout in rollouts]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        part = [rollouts[i] for i in indices]
        packed = pack([rollout.group for rollout in part]).to(model.device)
        trunk_BT = model.trunk(packed.layout)
        logprobs_N = response_logprobs(model, packed, trunk_BT, name=name)
        gaps.append(logprobs_N - engine_logprobs(part).to(model.device))
    return _rms(torch.cat(gaps))


def describe(experience: Experience, *, recipe: PPORecipe) -> dict[str, float]:
    """What a rollout batch says, under the field's public metric names."""
    kl, scores = experience.everywhere("kl"), experience.everywhere("scores_E")
    has_ended_E = experience.everywhere("has_ended_E").float()
    penalised = scores - recipe.missing_eos_penalty * (1 - has_ended_E)
    logprobs_N = experience.everywhere("logprobs_N")
    engine_N = experience.everywhere("engine_logprobs_N")
    weights_N = engine_weights(
        logprobs_N,
        engine_logprobs=engine_N,
        minimum=recipe.importance_weight_min,
        maximum=recipe.importance_weight_max,
    )
    values, returns = experience.everywhere("values_N"), experience.everywhere("returns_N")
    unexplained = (returns - values).var(unbiased=False) / returns.var(unbiased=False).clamp(
        min=1e-8
    )
    return {
        "objective/kl": kl.mean().item(),
        "objective/kl_stderr": standard_error(kl),
        "objective/kl_coef": recipe.kl_coef,
        "objective/scores": scores.mean().item(),
        "objective/scores_std": scores.std(unbiased=False).item(),
        "objective/rlhf_reward": (penalised - recipe.kl_coef * kl).mean().item(),
        # The policy's own samples: minus their mean log-probability estimates its entropy.
        "objective/entropy": -logprobs_N.mean().item(),
        "response/tokens": experience.everywhere("lengths").float().mean().item(),
        "response/eos_rate": has_ended_E.mean().item(),
        "ppo/val/explained_variance": 1 - unexplained.item(),
        # Trainer now to whoever sampled: with overlap, one update and the engine's rounding.
        "ppo/sampler_gap_nats": _rms(logprobs_N - engine_N),
        "ppo/importance_weight": weights_N.mean().item(),
        "ppo/importance_truncated": ((logprobs_N - engine_N).exp() != weights_N)
        .float()
        .mean()
        .item(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory that this process had at once: the GPU's where it trains there, else its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _rms(gaps: torch.Tensor) -> float:
    return gaps.square().mean().sqrt().item()
