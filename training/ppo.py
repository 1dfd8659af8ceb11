"""PPO-ptx: raise the reward of the policy's answers, stay near the reference, forget nothing.

An iteration: 1. Export the policy; the engines load it. 2. Sample episodes. 3. Score them: policy, reference,
value, reward, one trunk pass for all. 4. Check that engine and trainer agree. 5. Update (learner.py).
6. Write the curve's line and the checkpoint; a kill costs at most the iteration under way.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from feedback.errors import Unprocessable
from serving import artifact
from serving.settings import ServingSettings
from training import checkpoint, models, reward
from training.batches import pack, passes
from training.config import PPORecipe, Recipe
from training.curves import Curves
from training.data import Prompt, choose, read_pretraining, read_prompts
from training.experience import (
    Experience,
    Rewards,
    Scorer,
    engine_logprobs,
    gather,
    penalised_scores,
    response_logprobs,
)
from training.job import Job
from training.learner import Learner
from training.losses import kl_rewards
from training.models import POLICY, REFERENCE, REWARD, VALUE, Models
from training.rollouts import EngineRollouts, Rollout
from training.samplers import EngineSampler, Sampler
from training.texts import Texts

CANDIDATE = "candidate"
_GAP_PROMPTS = 64  # answers of the reference that the engine's gap is measured on, at the start


class EngineGapError(Exception):
    """The engine samples from another distribution than the trainer computes."""


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

    def measure_gap(self) -> float:
        """RMS gap of engine and trainer on the reference's answers; sets the limit to twice that."""
        prompts = self._choose(min(_GAP_PROMPTS, len(self.prompts)), turn=0)
        rollouts = self.sampler.sample_reference(
            prompts, answers_per_prompt=1, max_tokens=self.recipe.response_tokens
        )
        gap = reference_gap(self.model, rollouts)
        self.gap_limit_nats = max(2 * gap, self.recipe.engine_gap_floor_nats)
        return gap

    def run_iteration(self, iteration: int) -> dict[str, float]:
        """Sample, score, check, update; returns the metrics of the iteration."""
        started = time.perf_counter()
        self.sampler.refresh(iteration)
        num_prompts = self.recipe.episodes_per_iteration // self.recipe.answers_per_prompt
        rollouts = self.sampler.sample(
            self._choose(num_prompts, turn=iteration),
            answers_per_prompt=self.recipe.answers_per_prompt,
            max_tokens=self.recipe.response_tokens,
        )
        sampled = time.perf_counter()
        experience = gather(
            self.model,
            rollouts,
            scorer=self.scorer,
            recipe=self.recipe,
            seed=f"{self.seed}/{iteration}",
            rewards=self.rewards,
        )
        metrics = describe(experience, recipe=self.recipe)
        self._check_gap(metrics)
        scored = time.perf_counter()
        metrics |= self.learner.update(experience, iteration=iteration)
        ended = time.perf_counter()
        num_tokens = sum(one.packed.layout.ids_BT.numel() for one in experience.passes)
        return metrics | {
            "episode": (iteration + 1) * self.recipe.episodes_per_iteration,
            "time/rollout_s": sampled - started,
            "time/score_s": scored - sampled,
            "time/train_s": ended - scored,
            "time/rollout_tokens_per_s": len(experience.joined("logprobs_N")) / (sampled - started),
            "time/train_tokens_per_s": num_tokens / (ended - sampled),
        }

    def _choose(self, count: int, *, turn: int) -> list[tuple[int, ...]]:
        return [p.ids for p in choose(self.prompts, count=count, seed=self.seed, turn=turn)]

    def _check_gap(self, metrics: dict[str, float]) -> None:
        gap = metrics["ppo/engine_gap_nats"]
        if gap > self.gap_limit_nats:
            raise EngineGapError(
                f"engine and trainer differ by {gap:.3f} nats RMS per token; the reference differs by "
                f"half of {self.gap_limit_nats:.3f}. The engine answers with other weights or sampling "
                "than asked for: look at its log and at GET /policy"
            )


def run(job: Job) -> dict[str, Any]:
    """Train the round's candidate, from the last checkpoint if there is one; returns the report."""
    folder = job.step_folder("ppo")
    model = _load(job)
    learner = Learner(
        model, job.recipe.ppo, pretraining=_pretraining(job, "train"), seed=job.plan.seed
    )
    base_digest = artifact.base_digest(Path(job.plan.base_model))

    def export(target: Path, version: str) -> str:
        return export_policy(model, target, version=version, job=job, base_digest=base_digest)

    with open_engines(job) as engines:
        engines.unload_leftovers(f"{job.plan.round_id}-")
        name = f"{job.plan.round_id}-{os.urandom(3).hex()}"
        sampler = EngineSampler(engines, export=export, folder=folder / "rollout", name=name)
        trainer = Trainer(
            model=model,
            recipe=job.recipe.ppo,
            learner=learner,
            sampler=sampler,
            scorer=lambda packed, trunk_BT: reward.score(
                model, packed, readout=job.recipe.reward.readout, trunk_BT=trunk_BT
            ),
            prompts=_prompts(job),
            seed=job.plan.seed,
        )
        curves = Curves(job.folder / "metrics.jsonl", step="ppo")
        train(trainer, folder=folder, curves=curves, recipe=job.recipe, check_mine=job.check_mine)
        sampler.close()

    job.check_mine()
    digest = export_policy(
        model,
        folder / CANDIDATE,
        version=f"{job.plan.round_id}-candidate",
        job=job,
        base_digest=base_digest,
        weights=learner.candidate,
    )
    report = {"digest": digest, "iterations": job.recipe.ppo.iterations, "last": curves.read()[-1]}
    checkpoint.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


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
        start, gap = found.number, found.facts["reference_gap_nats"]
        trainer.gap_limit_nats = max(2 * gap, recipe.ppo.engine_gap_floor_nats)
    curves.rewind(start)
    for iteration in range(start, recipe.ppo.iterations):
        metrics = trainer.run_iteration(iteration)
        check_mine()
        progress = (iteration + 1) / recipe.ppo.iterations
        curves.append(iteration, metrics | {"ppo/progress": progress})
        is_last = iteration + 1 == recipe.ppo.iterations
        if is_last or (iteration + 1) % recipe.ppo.checkpoint_every == 0:
            facts = {"reference_gap_nats": gap}
            tensors = trainer.learner.state()
            checkpoint.save(folder, number=iteration + 1, tensors=tensors, facts=facts)


@torch.no_grad()
def reference_gap(model: Models, rollouts: Sequence[Rollout]) -> float:
    """RMS of trainer's less engine's log-probability over the reference's answers, nats per token."""
    gaps = []
    lengths = [len(rollout.group) for rollout in rollouts]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        part = [rollouts[i] for i in indices]
        packed = pack([rollout.group for rollout in part]).to(model.device)
        trunk_BT = model.trunk(packed.layout)
        logprobs_N = response_logprobs(model, packed, trunk_BT, name=REFERENCE)
        gaps.append(logprobs_N - engine_logprobs(part).to(model.device))
    return _rms(torch.cat(gaps))


def describe(experience: Experience, *, recipe: PPORecipe) -> dict[str, float]:
    """What a rollout batch says, under the field's public metric names."""
    kl = experience.kl
    scores = experience.joined("scores_E")
    penalised = penalised_scores(experience, recipe=recipe)
    gaps = experience.joined("logprobs_N") - experience.joined("engine_logprobs_N")
    values, returns = experience.joined("values_N"), experience.joined("returns_N")
    unexplained = (returns - values).var(unbiased=False) / returns.var(unbiased=False).clamp(
        min=1e-8
    )
    return {
        "objective/kl": kl.mean().item(),
        "objective/scores": scores.mean().item(),
        "objective/scores_std": scores.std(unbiased=False).item(),
        "objective/rlhf_reward": (penalised - recipe.kl_coef * kl).mean().item(),
        # The policy's own samples: minus their mean log-probability estimates its entropy.
        "objective/entropy": -experience.joined("logprobs_N").mean().item(),
        "response/tokens": experience.lengths.float().mean().item(),
        "response/eos_rate": experience.joined("has_ended_E").float().mean().item(),
        "ppo/val/explained_variance": 1 - unexplained.item(),
        "ppo/engine_gap_nats": _rms(gaps),
    }


def export_policy(
    model: Models,
    folder: Path,
    *,
    version: str,
    job: Job,
    base_digest: str,
    weights: dict[str, torch.Tensor] | None = None,
) -> str:
    """Write the policy's adapter and its manifest; returns the digest."""
    model.save(POLICY, folder, state=weights)
    manifest = artifact.write_manifest(
        folder, version=version, kind="adapter", parent=job.plan.parent, base_digest=base_digest
    )
    return manifest.digest


def open_engines(job: Job) -> EngineRollouts:
    """The plan's engines, with as many answers in flight as the recipe allows."""
    return EngineRollouts(
        job.plan.engine_urls,
        token=ServingSettings().engine_token,
        concurrency=job.recipe.ppo.rollout_concurrency,
    )


def _load(job: Job) -> Models:
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[POLICY, VALUE, REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
    )
    reward.load_into(model, job.folder / "reward")
    reward.load_into(model, job.folder / "reward", name=VALUE)
    if job.plan.parent_path is not None:
        model.load(POLICY, Path(job.plan.parent_path))
    return model


def _prompts(job: Job) -> list[Prompt]:
    room = job.recipe.model.max_sequence_tokens - job.recipe.ppo.response_tokens
    prompts = read_prompts(
        job.folder / "snapshot",
        split="train",
        max_tokens=room,
        texts=Texts(Path(job.plan.base_model)),
    )
    if not prompts:
        raise Unprocessable("the snapshot holds no prompt that leaves room for an answer")
    return prompts


def _pretraining(job: Job, split: Any) -> list[tuple[int, ...]]:
    tokenizer = AutoTokenizer.from_pretrained(job.plan.base_model)
    return read_pretraining(
        job.settings.ptx_path,
        tokenize=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        example_tokens=job.recipe.ppo.ptx_tokens,
        split=split,
    )


def _rms(gaps: torch.Tensor) -> float:
    return gaps.square().mean().sqrt().item()
