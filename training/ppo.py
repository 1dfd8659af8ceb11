"""PPO-ptx: raise the reward of the policy's answers, stay near the reference, forget nothing.

An iteration (trainer.py): 1. Export the policy, or send it; the engines load it. 2. Sample episodes.
3. Score them: policy, reference, value, reward, one trunk pass for all. 4. Check that engine and trainer
agree (alarms.py). 5. Update (learner.py). 6. Write the curve's line and the checkpoint; a kill costs at
most the iteration under way.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from feedback.errors import Unprocessable
from serving import artifact
from serving.settings import ServingSettings
from training import files, model_folder, models, parallel, reward, transfer
from training.config import FullRecipe
from training.curves import Curves
from training.data import Prompt, read_pretraining, read_prompts
from training.job import Job
from training.learner import Learner
from training.models import POLICY, REWARD, VALUE, Models
from training.rollouts import EngineRollouts
from training.rounds import Plan
from training.samplers import EngineSampler, Export, OneSampler, Sampler, SendingSampler
from training.texts import Texts
from training.trainer import Trainer, train

log = logging.getLogger(__name__)

CANDIDATE = "candidate"


def run(job: Job) -> dict[str, Any]:
    """Train the round's candidate, from the last checkpoint if there is one; returns the report."""
    folder = job.step_folder("ppo")
    prompts = read_fitting_prompts(job)
    model = _load(job)
    learner = Learner(
        model, job.recipe.ppo, pretraining=_pretraining(job, "train"), seed=job.plan.seed
    )
    base_digest = artifact.base_digest(Path(job.plan.base_model))

    def export(target: Path, version: str) -> str:
        return export_policy(model, target, version=version, job=job, base_digest=base_digest)

    with open_sampler(job, model, export=export, folder=folder / "rollout") as sampler:
        trainer = Trainer(
            model=model,
            recipe=job.recipe.ppo,
            learner=learner,
            sampler=sampler,
            scorer=lambda packed, trunk_BT: reward.score(
                model, packed, readout=job.recipe.reward.readout, trunk_BT=trunk_BT
            ),
            prompts=prompts,
            seed=job.plan.seed,
        )
        curves = Curves(job.folder / "metrics.jsonl", step="ppo")
        train(trainer, folder=folder, curves=curves, recipe=job.recipe, check_mine=job.check_mine)

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
    if not job.plan.is_round and parallel.is_first():  # a round publishes the candidate instead
        model_folder.write(
            folder / CANDIDATE, folder / "model", base_model=Path(job.plan.base_model)
        )
        report["model"] = str(folder / "model")
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


def export_policy(
    model: Models,
    folder: Path,
    *,
    version: str,
    job: Job,
    base_digest: str,
    weights: dict[str, torch.Tensor] | None = None,
) -> str:
    """Write the policy's weights and their manifest; returns the digest. All processes must ask, the
    first one writes."""
    model.save(POLICY, folder, state=weights)
    if not parallel.is_first():
        return ""
    manifest = artifact.write_manifest(
        folder,
        version=version,
        kind="full" if isinstance(model.recipe, FullRecipe) else "adapter",
        parent=job.plan.parent,
        base_digest=base_digest,
    )
    return manifest.digest


@contextlib.contextmanager
def open_sampler(job: Job, model: Models, *, export: Export, folder: Path) -> Iterator[Sampler]:
    """The policy under training on the plan's engines."""
    if not parallel.is_first():
        yield OneSampler(None, take_part=lambda: model.state(POLICY))
        return
    with open_engines(job) as engines:
        engines.unload_leftovers(f"{job.plan.round_id}-")
        name = f"{job.plan.round_id}-{os.urandom(3).hex()}"
        sampler = _sampler(job, model, engines, export=export, folder=folder, name=name)
        yield OneSampler(sampler, take_part=lambda: None)
        sampler.close()


def _sampler(
    job: Job, model: Models, engines: EngineRollouts, *, export: Export, folder: Path, name: str
) -> EngineSampler | SendingSampler:
    """Full weights are sent where every engine takes them so (HONE_SERVING_WEIGHT_TRANSFER)."""
    backend = transfer.offered(engines) if isinstance(model.recipe, FullRecipe) else None
    if backend is None:
        return EngineSampler(engines, export=export, folder=folder, name=name)
    log.info("weights go to the engines by %s", backend)
    sending = transfer.WeightTransfer(
        engines, model=model, base_model=Path(job.plan.base_model), backend=backend
    )
    return SendingSampler(engines, transfer=sending, name=name)


def open_engines(job: Job) -> EngineRollouts:
    """The engines that sample for this job, with as many answers in flight as the recipe allows."""
    weights = "full" if _has_full_weights(job) else "adapter"
    return EngineRollouts(
        rollout_urls(job.plan, weights=weights, own=job.settings.rollout_engine_urls),
        token=ServingSettings().engine_token,
        concurrency=job.recipe.ppo.rollout_concurrency,
    )


def rollout_urls(plan: Plan, *, weights: str, own: Sequence[str]) -> list[str]:
    """Engines of training's own if there are any, else the plan's. Raises Unprocessable where full weights
    would replace what people are answered with."""
    urls = [url.rstrip("/") for url in own] or plan.engine_urls
    is_public = plan.is_round and not set(urls).isdisjoint(plan.engine_urls)
    if weights == "full" and is_public:
        raise Unprocessable(
            "full weights in training would replace what the engines answer people with: start engines "
            "for rollouts only, and name them in HONE_TRAINING_ROLLOUT_ENGINE_URLS, or take a recipe "
            "with adapters"
        )
    return urls


def _has_full_weights(job: Job) -> bool:
    """What is to be loaded, or what would have to make room for it."""
    if job.recipe.model.weights == "full":
        return True
    parent = job.plan.parent_path
    return parent is not None and artifact.read_manifest(Path(parent)).kind == "full"


def _load(job: Job) -> Models:
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[POLICY, VALUE, REWARD],
        frozen=[REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
    )
    reward.load_into(model, job.reward_folder)
    reward.load_into(model, job.reward_folder, name=VALUE)
    if job.plan.parent_path is not None:
        parent = Path(job.plan.parent_path)
        if artifact.read_manifest(parent).kind == job.recipe.model.weights:
            model.load(POLICY, parent)
        else:
            log.warning("%s has other kind of weights; training starts from the base", parent.name)
    return model


def read_fitting_prompts(job: Job) -> list[Prompt]:
    """Training prompts that leave room for an answer. Raises Unprocessable when there is none."""
    texts = Texts(Path(job.plan.base_model))
    found = read_prompts(job.snapshot, split="train", max_tokens=sys.maxsize, texts=texts)
    room = job.recipe.model.max_sequence_tokens - job.recipe.ppo.response_tokens
    kept = [prompt for prompt in found if len(prompt.ids) <= room]
    if not found:
        raise Unprocessable("the snapshot holds no prompt to train on; collect more judgements")
    if not kept:
        raise Unprocessable(
            f"all {len(found)} prompts are longer than {room} tokens; raise [model] max_sequence_tokens "
            "(and the engine's HONE_SERVING_MAX_MODEL_LEN), or lower [ppo] response_tokens"
        )
    if len(kept) < len(found):
        log.warning("%d of %d prompts are left out: too long", len(found) - len(kept), len(found))
    return kept


def _pretraining(job: Job, split: Any) -> list[tuple[int, ...]]:
    tokenizer = AutoTokenizer.from_pretrained(job.plan.base_model)
    return read_pretraining(
        job.settings.ptx_path,
        tokenize=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        example_tokens=job.recipe.ppo.ptx_tokens,
        split=split,
    )
