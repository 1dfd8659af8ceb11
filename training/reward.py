"""The reward model: which of K answers would people like better?

1. Read the rankings that fit. 2. A fresh adapter and a scalar head on the base. 3. One optimizer step per
batch of rankings, all comparisons of a ranking together, each completion scored once (eq. 1). 4. Held-out
accuracy, calibration. 5. Shift the scores so that demonstrations average 0.
6. Save adapter, head, report.
Shapes: C rankings of a batch, K completions of a ranking, E all completions of a pass.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from feedback.errors import Unprocessable
from feedback.quality.intervals import Estimate
from training import checkpoint, files, models, parallel, reward_report, uncertainty
from training.batches import Group, Packed, pack, rectangle
from training.config import Readout, RewardRecipe
from training.curves import Curves
from training.data import Ranking, all_rankings, choose, read_demonstrations, usable
from training.job import Job
from training.losses import comparisons, ranking_loss
from training.models import REWARD, Models
from training.texts import Texts

WEIGHTS = "weights"
HEAD = "head.safetensors"


def run(job: Job) -> dict[str, Any]:
    """Train the round's reward model, from its last checkpoint if there is one; returns the report."""
    folder = job.step_folder("reward")
    snapshot, limit = job.snapshot, job.recipe.model.max_sequence_tokens
    texts = Texts(Path(job.plan.base_model))
    rankings = partial(all_rankings, snapshot, texts=texts)
    train = usable(rankings(split="train"), max_tokens=limit)
    heldout = usable(rankings(split="heldout"), max_tokens=limit)
    if not train.rankings:
        raise Unprocessable(
            "the snapshot holds no ranking to learn from"
            f" ({reward_report.reasons(train) or 'none at all'}); collect more judgements"
        )
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
    )
    trainer = RewardTrainer(model, job.recipe.reward, train.rankings, seed=job.plan.seed)
    curves = Curves(job.folder / "metrics.jsonl", step="reward")
    learn(trainer, job, folder, curves)

    anchors = _anchors(job, train.rankings, texts)
    readout = job.recipe.reward.readout
    # Before `normalise`: σ(margin) is a probability on the scale that was trained, on no other.
    scores = score_groups(model, [r.group for r in heldout.rankings], readout=readout)
    shift = normalise(model, anchors, readout=readout, has_unit_std=job.recipe.reward.has_unit_std)
    report = {
        **reward_report.judged(scores, heldout=heldout.rankings, train=train.rankings),
        **reward_report.counted(train, heldout),
        "anchors": len(anchors),
        **shift,
        "loss": [row["reward/loss"] for row in curves.read() if "reward/loss" in row],
    }
    job.check_mine()
    curves.append(trainer.num_steps, {"reward/accuracy": report["accuracy"]["value"]})
    save(model, folder)
    files.write_lines(folder / "heldout.jsonl", reward_report.lines(scores, heldout.rankings))
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    if job.plan.is_round:
        uncertainty.prioritise(partial(score_groups, model, readout=readout), max_tokens=limit)
    return report


class RewardTrainer:
    """Eq. 1 by Adam with a cosine; `step` counts optimizer steps."""

    def __init__(
        self, model: Models, recipe: RewardRecipe, rankings: Sequence[Ranking], *, seed: int
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._rankings = rankings
        self._seed = seed
        self._parameters = model.parameters(REWARD)
        self._adam = torch.optim.Adam(
            self._parameters.values(),
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_eps,
            weight_decay=recipe.weight_decay,
        )
        self.num_steps = math.ceil(recipe.epochs * len(rankings) / recipe.rankings_per_step)
        self.step = 0

    def update(self) -> dict[str, float]:
        """One optimizer step; returns its metrics."""
        started = time.perf_counter()
        batch = choose(
            self._rankings,
            count=min(self._recipe.rankings_per_step, len(self._rankings)),
            seed=self._seed,
            turn=self.step,
        )
        rate = self._recipe.learning_rate * cosine(
            self.step / self.num_steps, final=self._recipe.final_lr_fraction
        )
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad()
        loss, num_right, num_tokens = 0.0, 0.0, 0
        mine, _ = parallel.shared_passes(
            [len(r.group) for r in batch], max_tokens=self._model.recipe.tokens_per_pass
        )
        for indices in mine:
            part = [batch[i] for i in indices]
            packed = pack([r.group for r in part]).to(self._model.device)
            scores_CK, ranks_CK = _by_ranking(
                score(self._model, packed, readout=self._recipe.readout), part
            )
            weights_C = torch.tensor([r.weight for r in part], device=scores_CK.device)
            losses_C = weights_C * ranking_loss(scores_CK, ranks_CK=ranks_CK)
            part_loss = losses_C.sum() / len(batch)
            part_loss.backward()
            loss += part_loss.item()
            num_right += _num_right(scores_CK.detach(), ranks_CK).sum().item()
            num_tokens += packed.layout.ids_BT.numel()
        parallel.sum_gradients(self._parameters.values())
        norm = parallel.clip_gradients(self._parameters.values(), max_norm=self._recipe.grad_clip)
        self._adam.step()
        self.step += 1
        sums = {"loss": loss, "right": float(num_right), "tokens": float(num_tokens)}
        sums = parallel.totals(sums, device=self._model.device)
        seconds = time.perf_counter() - started
        return {
            "reward/loss": sums["loss"],
            "reward/train_accuracy": sums["right"] / max(1, sum(r.num_comparisons for r in batch)),
            "reward/grad_norm": norm,
            "reward/lr": rate,
            "time/train_s": seconds,
            "time/tokens_per_s": sums["tokens"] / seconds,
        }

    def save(self, folder: Path) -> None:
        tensors = checkpoint.with_prefix("reward", self._model.state(REWARD))
        tensors |= checkpoint.adam_state(self._adam, self._parameters)
        checkpoint.save(folder, number=self.step, tensors=tensors, facts={})

    def resume(self, folder: Path) -> None:
        """Go on from the newest checkpoint in the folder, if there is one."""
        found = checkpoint.latest(folder)
        if found is None:
            return
        self._model.load_state(REWARD, checkpoint.without_prefix("reward", found.tensors))
        checkpoint.load_adam_state(self._adam, self._parameters, found.tensors)
        self.step = found.number


def score(
    model: Models, packed: Packed, *, readout: Readout, trunk_BT: Tensor | None = None
) -> Tensor:
    """Scores [E] of the answers of a pass: the head at each answer's last real token, or its mean over
    the answer's tokens."""
    trunk_BT = model.trunk(packed.layout) if trunk_BT is None else trunk_BT
    hidden_BTD = model.top(trunk_BT, packed.layout, name=REWARD)
    if readout == "last":
        return model.heads[REWARD](hidden_BTD[packed.last_rows_E, packed.last_places_E])
    scores_N = model.heads[REWARD](hidden_BTD[packed.rows_N, packed.own_places_N])
    scores_ER, _ = rectangle(scores_N, lengths_E=packed.lengths_E)
    return scores_ER.sum(1) / packed.lengths_E


@torch.no_grad()
def score_groups(model: Models, groups: Sequence[Group], *, readout: Readout) -> list[list[float]]:
    """Scores of every answer, by group. All processes must ask, of the same groups; each scores its
    share."""
    dealt = parallel.repeated(groups)
    mine, everyones = parallel.shared_passes(
        [len(group) for group in dealt], max_tokens=model.recipe.tokens_per_pass
    )
    found = [
        score(model, pack([dealt[i] for i in indices]).to(model.device), readout=readout)
        for indices in mine
    ]
    flat = iter(parallel.gathered(torch.cat(found)).tolist() if found else [])
    scores = {i: [next(flat) for _ in dealt[i].answers] for part in everyones for i in part}
    return [scores[i] for i in range(len(groups))]


@torch.no_grad()
def normalise(
    model: Models, anchors: Sequence[Group], *, readout: Readout, has_unit_std: bool
) -> dict[str, float]:
    """Fold into the head a shift that gives the anchors mean 0 (section 3.5), and a scale if asked.

    Returns mean and standard deviation as they were.
    """
    scores = torch.tensor(
        [s for group in score_groups(model, anchors, readout=readout) for s in group]
    )
    mean, std = scores.mean().item(), scores.std(unbiased=False).item()
    head = model.heads[REWARD]
    head.bias.sub_(mean)
    if has_unit_std and std > 0:
        head.bias.div_(std)
        head.weight.div_(std)
    return {"anchor_mean": mean, "anchor_std": std}


def heldout_accuracy(model: Models, rankings: Sequence[Ranking], *, readout: Readout) -> Estimate:
    """Share of comparisons the model decides as the labeler did; equal scores count half."""
    scores = score_groups(model, [r.group for r in rankings], readout=readout)
    return reward_report.accuracy(scores, rankings)


def save(model: Models, folder: Path) -> None:
    """Weights and head, as `load_into` reads them."""
    model.save(REWARD, folder / WEIGHTS)
    head = {k: v.detach().cpu().clone() for k, v in model.heads[REWARD].state_dict().items()}
    if parallel.is_first():
        save_file(head, folder / HEAD)


def load_into(model: Models, folder: Path, *, name: str = REWARD) -> None:
    """Put the saved reward model into one of the scalar models (the value model starts as it)."""
    model.load(name, folder / WEIGHTS)
    model.heads[name].load_state_dict(load_file(folder / HEAD))


def cosine(progress: float, *, final: float) -> float:
    """1 at the start, `final` at progress 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def learn(trainer: RewardTrainer, job: Job, folder: Path, curves: Curves) -> None:
    """To its last step, from the newest checkpoint in the folder."""
    trainer.resume(folder)
    curves.rewind(trainer.step)
    while trainer.step < trainer.num_steps:
        values = trainer.update()
        curves.append(
            trainer.step - 1, values | {"reward/progress": trainer.step / trainer.num_steps}
        )
        if (
            trainer.step % job.recipe.reward.checkpoint_every == 0
            or trainer.step == trainer.num_steps
        ):
            job.check_mine()
            trainer.save(folder)


def _anchors(job: Job, train: Sequence[Ranking], texts: Texts) -> list[Group]:
    """Whose mean score is 0: demonstrations, else the answers that were ranked."""
    demonstrations = read_demonstrations(
        job.snapshot,
        split="train",
        max_tokens=job.recipe.model.max_sequence_tokens,
        texts=texts,
    )
    return demonstrations or [r.group for r in train]


def _by_ranking(scores_E: Tensor, rankings: Sequence[Ranking]) -> tuple[Tensor, Tensor]:
    """Scores and ranks as rectangles [C, K]; rank 0 is padding."""
    scores = scores_E.split([len(r.ranks) for r in rankings])
    ranks = [torch.tensor(r.ranks, device=scores_E.device) for r in rankings]
    return pad_sequence(scores, batch_first=True), pad_sequence(ranks, batch_first=True)


def _num_right(scores_CK: Tensor, ranks_CK: Tensor) -> Tensor:
    """Comparisons decided as the labeler did, [C]."""
    wins_CKK = comparisons(ranks_CK)
    margins_CKK = scores_CK[:, :, None] - scores_CK[:, None, :]
    return ((margins_CKK > 0).float() + 0.5 * (margins_CKK == 0).float()).mul(wins_CKK).sum((1, 2))
