"""Cross-validation of the reward model: how well does it judge for people whom it has never seen?

As the paper did (section 4.1, "generalising to held-out labelers"): labelers are split into groups; in
turn, each group is left out of training, and so is a share of the prompts. The model is then asked about
prompts that it has not seen: by labelers that it has learned from (in group), and by those left out.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feedback.errors import Unprocessable
from feedback.quality.intervals import Estimate
from training import files, models
from training.config import RewardRecipe
from training.curves import Curves
from training.data import Ranking, all_rankings, usable
from training.job import Job
from training.models import REWARD, Models
from training.reward import RewardTrainer, score_groups
from training.reward_report import accuracy
from training.texts import Texts

log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Rankings of one turn."""

    train: list[Ranking]
    in_group: list[Ranking]  # other prompts, by labelers of `train`
    held_out_group: list[Ranking]  # other prompts, by the labelers left out


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Shares of held-out comparisons decided as the labeler did; the intervals are over prompts."""

    in_group: Estimate
    held_out_group: Estimate | None  # None: fewer than two labelers are known
    folds: tuple[tuple[Estimate, Estimate], ...]  # in group and held out, by turn


def run(job: Job) -> dict[str, Any]:
    """Cross-validate on the dataset's training rankings, `plan.num_folds` turns; returns the report.

    It begins anew after a kill.
    """
    folder = job.step_folder("folds")
    base_model, recipe = Path(job.plan.base_model), job.recipe
    rankings = all_rankings(job.snapshot, split="train", texts=Texts(base_model))
    model = models.load(
        base_model,
        recipe=recipe.model,
        names=[REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
    )
    curves = Curves(job.folder / "metrics.jsonl", step="folds")
    curves.rewind(0)
    turns = itertools.count()

    def say(line: str) -> None:
        log.info(line)
        turn = next(turns)
        curves.append(turn, {"folds/progress": (turn + 1) / job.plan.num_folds})

    found = cross_validate(
        model,
        recipe.reward,
        usable(rankings, max_tokens=recipe.model.max_sequence_tokens).rankings,
        num_folds=job.plan.num_folds,
        seed=job.plan.seed,
        say=say,
    )
    report = {"num_folds": job.plan.num_folds, **asdict(found)}
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


def cross_validate(
    model: Models,
    recipe: RewardRecipe,
    rankings: Sequence[Ranking],
    *,
    num_folds: int = 5,
    seed: int = 0,
    say: Say = lambda line: None,
) -> CrossValidation:
    """Train the reward model anew in each of `num_folds` turns, each time from what `model` is now.

    `rankings` are usable ones (`data.usable`). A group is one labeler, or several where they are more
    than folds; to leave known groups out, name the group as the labeler. Where fewer than two labelers
    are known, only prompts are left out. Raises Unprocessable for rankings of a single prompt.
    """
    start = model.state(REWARD)
    asked_in, asked_out = _Asked(), _Asked()
    folds = []
    for number, fold in enumerate(split(rankings, num_folds=num_folds, seed=seed), start=1):
        model.load_state(REWARD, start)
        trainer = RewardTrainer(model, recipe, fold.train, seed=seed)
        while trainer.step < trainer.num_steps:
            trainer.update()
        pair = (
            asked_in.ask(model, recipe, fold.in_group),
            asked_out.ask(model, recipe, fold.held_out_group),
        )
        say(f"fold {number}: in group {_text(pair[0])}, held-out group {_text(pair[1])}")
        folds.append(pair)
    model.load_state(REWARD, start)
    return CrossValidation(
        in_group=asked_in.estimate(),
        held_out_group=asked_out.estimate() if asked_out.rankings else None,
        folds=tuple(folds),
    )


def split(rankings: Sequence[Ranking], *, num_folds: int, seed: int) -> list[Fold]:
    """The turns. As many as there are labelers, or prompts, if those are fewer."""
    by_prompt = Counter(r.group.prompt_ids for r in rankings)
    by_labeler = Counter(r.labeler for r in rankings if r.labeler)
    if len(by_labeler) < 2:
        by_labeler.clear()
    num_folds = min(num_folds, len(by_prompt), len(by_labeler) or num_folds)
    prompts = _dealt(by_prompt, num_folds, seed)
    labelers = _dealt(by_labeler, num_folds, seed)
    turns = [_fold(rankings, number, prompts, labelers) for number in range(num_folds)]
    found = [fold for fold in turns if fold.train]
    if len(found) < 2:
        raise Unprocessable(
            "cross-validation needs two folds at least, and rankings of several prompts"
        )
    return found


def _fold(
    rankings: Sequence[Ranking],
    number: int,
    prompts: Mapping[tuple[int, ...], int],
    labelers: Mapping[str, int],
) -> Fold:
    insiders = [r for r in rankings if labelers.get(r.labeler) != number]
    train = [r for r in insiders if prompts[r.group.prompt_ids] != number]
    seen = {r.group.prompt_ids for r in train}
    unseen = [r for r in rankings if r.group.prompt_ids not in seen]
    return Fold(
        train=train,
        in_group=[r for r in unseen if labelers.get(r.labeler) != number],
        held_out_group=[r for r in unseen if labelers.get(r.labeler) == number],
    )


class _Asked:
    """Rankings that the model has judged, over all turns."""

    def __init__(self) -> None:
        self.rankings: list[Ranking] = []
        self._scores: list[list[float]] = []

    def ask(self, model: Models, recipe: RewardRecipe, rankings: Sequence[Ranking]) -> Estimate:
        scores = score_groups(model, [r.group for r in rankings], readout=recipe.readout)
        self.rankings += rankings
        self._scores += scores
        return accuracy(scores, rankings)

    def estimate(self) -> Estimate:
        return accuracy(self._scores, self.rankings)


def _dealt(counts: Counter, num_folds: int, seed: int) -> dict:
    """Names to folds of about equally many rankings: the largest first, to the smallest fold."""
    names = sorted(counts)
    random.Random(seed).shuffle(names)
    sizes, found = [0] * num_folds, {}
    for name in sorted(names, key=lambda name: -counts[name]):
        found[name] = sizes.index(min(sizes))
        sizes[found[name]] += counts[name]
    return found


def _text(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
