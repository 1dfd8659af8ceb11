"""Supervised fine-tuning: imitate what people wrote themselves.

1. Read the demonstrations that fit. 2. One optimizer step per batch: the loss is the mean over all response
tokens of the batch, the prompt is not trained on; pretraining text has its own mean and its share. 3. After each
epoch, answers to held-out prompts are scored by the reward model, where there is one: held-out loss is lowest
after one epoch while answers still get better (paper, appendix C.1). 4. Write the best epoch, or without a
reward model the last, as a model folder that engines and later steps take as their base.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from feedback.errors import Unprocessable
from training import checkpoint, files, model_folder, models, parallel
from training.batches import Group, pack
from training.config import AdapterRecipe, FullRecipe, ModelRecipe, Recipe, SFTRecipe
from training.curves import Curves
from training.data import choose, read_demonstrations, read_pretraining
from training.experience import response_logprobs
from training.job import Job
from training.learner import pretraining_losses
from training.models import POLICY, Models
from training.reward import cosine
from training.selection import Judge, open_judge
from training.texts import Texts

MODEL = "model"
Section = Literal["sft", "ppo_init"]


def run(job: Job, *, section: Section) -> dict[str, Any]:
    """Train the baseline or PPO's initial policy, from the last checkpoint if there is one; returns the
    report."""
    folder = job.step_folder(section)
    recipe: SFTRecipe = getattr(job.recipe, section)
    base_model = Path(job.plan.base_model)
    texts = Texts(base_model)
    train = _demonstrations(job, texts, "train")
    heldout = _demonstrations(job, texts, "validation") or _demonstrations(job, texts, "heldout")
    if not train:
        raise Unprocessable(
            "no demonstration to learn from, of those that fit model.max_sequence_tokens = "
            f"{job.recipe.model.max_sequence_tokens}; collect some, or raise it"
        )
    model = models.load(
        base_model,
        recipe=model_recipe(job.recipe, recipe),
        names=[POLICY],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
        has_reference=False,  # nothing here is measured from it
    )
    trainer = SFTTrainer(
        model,
        recipe,
        train,
        pretraining=_pretraining(job, recipe, texts) if recipe.pretraining_share else [],
        seed=job.plan.seed,
    )
    curves = Curves(job.folder / "metrics.jsonl", step=section)
    with open_judge(job, model, recipe, heldout, folder=folder) as judge:
        scores = train_epochs(
            trainer, folder=folder, curves=curves, heldout=heldout, judge=judge, job=job
        )
    epochs = [row for row in curves.read() if "sft/epoch" in row]
    best = best_epoch(scores) if scores else recipe.epochs
    job.check_mine()
    trained = folder / f"epoch-{best:03d}"
    if parallel.is_first() and trained.exists():
        model_folder.write(trained, folder / MODEL, base_model=base_model)
        shutil.rmtree(trained)
    report = {
        "model": str(folder / MODEL),
        "epoch": best,
        "chosen_by": "reward" if scores else "last",
        "scores": scores,
        "heldout_loss": [row["sft/heldout_loss"] for row in epochs if heldout],
        "train_demonstrations": len(train),
        "heldout_demonstrations": len(heldout),
    }
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


class SFTTrainer:
    """Maximum likelihood by Adam with a cosine; `step` counts optimizer steps."""

    def __init__(
        self,
        model: Models,
        recipe: SFTRecipe,
        demonstrations: Sequence[Group],
        *,
        pretraining: Sequence[tuple[int, ...]],
        seed: int,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self._demonstrations = demonstrations
        self._pretraining = pretraining
        self._seed = seed
        self._parameters = model.parameters(POLICY)
        self._adam = torch.optim.Adam(
            self._parameters.values(),
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_eps,
            weight_decay=recipe.weight_decay,
        )
        self._num_demonstrations, self._num_pretraining = _batch_sizes(recipe, len(demonstrations))
        self.num_steps = self.end_of(recipe.epochs)
        self.step = 0

    def end_of(self, epoch: int) -> int:
        """Optimizer steps by which every demonstration was seen `epoch` times."""
        return math.ceil(epoch * len(self._demonstrations) / self._num_demonstrations)

    def update(self) -> dict[str, float]:
        """One optimizer step; returns its metrics."""
        started = time.perf_counter()
        batch = choose(
            self._demonstrations, count=self._num_demonstrations, seed=self._seed, turn=self.step
        )
        rate = self.recipe.learning_rate * cosine(
            self.step / self.num_steps, final=self.recipe.final_lr_fraction
        )
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad()
        metrics = self.gradients(batch, examples=self._examples())
        parallel.sum_gradients(self._parameters.values())
        norm = parallel.clip_gradients(self._parameters.values(), max_norm=self.recipe.grad_clip)
        self._adam.step()
        self.step += 1
        seconds = time.perf_counter() - started
        return metrics | {
            "sft/grad_norm": norm,
            "sft/lr": rate,
            "time/train_s": seconds,
            "time/tokens_per_s": sum(map(len, batch)) / seconds,
        }

    def gradients(
        self, batch: Sequence[Group], *, examples: Sequence[tuple[int, ...]]
    ) -> dict[str, float]:
        """Add the gradients of a batch and its pretraining examples to the buffers."""
        share = self.recipe.pretraining_share if examples else 0.0
        num_tokens = _num_tokens(batch)
        sums = {"sft/loss": 0.0}
        mine, _ = parallel.shared_passes(
            [len(group) for group in batch], max_tokens=self.model.recipe.tokens_per_pass
        )
        for indices in mine:
            loss = _loss(self.model, [batch[i] for i in indices])
            ((1 - share) * loss / num_tokens).backward()
            sums["sft/loss"] += loss.item() / num_tokens
        if examples:
            num_predicted = sum(len(example) - 1 for example in examples)
            sums["ptx/loss"] = 0.0
            for loss in pretraining_losses(self.model, parallel.share(examples), name=POLICY):
                (share * loss / num_predicted).backward()
                sums["ptx/loss"] += loss.item() / num_predicted
        return parallel.totals(sums, device=self.model.device)

    def save(self, folder: Path, *, facts: dict[str, Any]) -> None:
        tensors = checkpoint.with_prefix("policy", self.model.state(POLICY))
        tensors |= checkpoint.adam_state(self._adam, self._parameters)
        checkpoint.save(folder, number=self.step, tensors=tensors, facts=facts)

    def resume(self, folder: Path) -> dict[str, Any]:
        """Go on from the newest checkpoint in the folder, if there is one; returns its facts."""
        found = checkpoint.latest(folder)
        if found is None:
            return {}
        self.model.load_state(POLICY, checkpoint.without_prefix("policy", found.tensors))
        checkpoint.load_adam_state(self._adam, self._parameters, found.tensors)
        self.step = found.number
        return found.facts

    def _examples(self) -> list[tuple[int, ...]]:
        if not self._num_pretraining:
            return []
        return choose(
            self._pretraining, count=self._num_pretraining, seed=self._seed, turn=self.step
        )


def train_epochs(
    trainer: SFTTrainer,
    *,
    folder: Path,
    curves: Curves,
    heldout: Sequence[Group],
    judge: Judge | None,
    job: Job,
) -> list[float]:
    """All steps that are not done yet; returns each epoch's score, none without a judge.

    The weights of the best epoch so far, or of the last, stay in `epoch-<number>`.
    """
    scores: list[float] = trainer.resume(folder).get("scores", [])
    curves.rewind(trainer.step)
    while trainer.step < trainer.num_steps:
        metrics = trainer.update() | {"sft/progress": trainer.step / trainer.num_steps}
        epochs = range(1, trainer.recipe.epochs + 1)
        epoch = max((e for e in epochs if trainer.end_of(e) == trainer.step), default=None)
        if epoch is not None:
            metrics |= {"sft/epoch": epoch}
            if heldout:
                metrics["sft/heldout_loss"] = mean_loss(trainer.model, heldout)
            if judge is not None:
                scores = [*scores, judge(epoch)]
                metrics["sft/score"] = scores[-1]
            _keep_best(
                trainer.model, folder, epoch, scores, is_last=trainer.step == trainer.num_steps
            )
        curves.append(trainer.step - 1, metrics)
        if epoch is not None or trainer.step % trainer.recipe.checkpoint_every == 0:
            job.check_mine()
            trainer.save(folder, facts={"scores": scores})
    return scores


@torch.no_grad()
def mean_loss(model: Models, groups: Sequence[Group]) -> float:
    """Nats per response token. All processes must ask, of the same groups; each takes its share."""
    dealt = parallel.repeated(groups)
    mine, _ = parallel.shared_passes(
        [len(group) for group in dealt], max_tokens=model.recipe.tokens_per_pass
    )
    loss = 0.0
    for indices in mine:
        packed = pack([dealt[i] for i in indices]).to(model.device)
        logprobs_N = response_logprobs(model, packed, model.trunk(packed.layout), name=POLICY)
        is_counted = [i < len(groups) for i in indices for _ in dealt[i].answers]
        counts_E = torch.tensor(is_counted, device=model.device)
        loss -= logprobs_N[counts_E.repeat_interleave(packed.lengths_E)].sum().item()
    return parallel.totals({"loss": loss}, device=model.device)["loss"] / _num_tokens(groups)


def best_epoch(scores: Sequence[float]) -> int:
    """From 1; the earlier one of equals."""
    return 1 + max(range(len(scores)), key=lambda i: scores[i])


def model_recipe(recipe: Recipe, section: SFTRecipe) -> AdapterRecipe | FullRecipe:
    """[model], or the same with full weights."""
    if section.weights == recipe.model.weights:
        return recipe.model
    shared = {name: getattr(recipe.model, name) for name in ModelRecipe.model_fields}
    return FullRecipe(weights="full", **shared)


def _batch_sizes(recipe: SFTRecipe, num_demonstrations: int) -> tuple[int, int]:
    """(demonstrations, pretraining examples) of a step; each can be dealt evenly to all processes. How much the
    latter weigh does not depend on their number."""
    size = parallel.size()
    wanted = recipe.examples_per_step * recipe.pretraining_share
    num_pretraining = size * max(1, round(wanted / size)) if wanted else 0
    room = recipe.examples_per_step - num_pretraining
    return max(size, min(room, num_demonstrations // size * size)), num_pretraining


def _loss(model: Models, groups: Sequence[Group]) -> Tensor:
    """Negative log-likelihood summed over the response tokens of one pass."""
    packed = pack(groups).to(model.device)
    return -response_logprobs(model, packed, model.trunk(packed.layout), name=POLICY).sum()


def _num_tokens(groups: Sequence[Group]) -> int:
    return sum(len(answer) for group in groups for answer in group.answers)


def _keep_best(
    model: Models, folder: Path, epoch: int, scores: Sequence[float], *, is_last: bool
) -> None:
    is_best = best_epoch(scores) == epoch if scores else is_last
    if not is_best:
        return
    if parallel.is_first():
        for older in folder.glob("epoch-*"):
            shutil.rmtree(older)
    model.save(POLICY, folder / f"epoch-{epoch:03d}")


def _demonstrations(job: Job, texts: Texts, split: Any) -> list[Group]:
    limit = job.recipe.model.max_sequence_tokens
    return read_demonstrations(job.snapshot, split=split, max_tokens=limit, texts=texts)


def _pretraining(job: Job, recipe: SFTRecipe, texts: Texts) -> list[tuple[int, ...]]:
    return read_pretraining(
        job.settings.ptx_path,
        tokenize=texts.ids,
        example_tokens=recipe.pretraining_tokens,
        split="train",
    )
