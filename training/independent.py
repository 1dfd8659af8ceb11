"""A second reward model, of what the first never saw: the judgements that are held out.

A policy learns to please its reward model, right or wrong (Gao et al., arXiv 2210.10760). This one learns from other
people's prompts, and from the labelers held out, so that chance misleads it elsewhere: what only the first one likes
of a candidate is no gain. The first one loses nothing by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from feedback.quality.intervals import Estimate
from training import files, models, reward, reward_report
from training.batches import Group
from training.curves import Curves
from training.data import Ranking, all_rankings, choose, usable
from training.gate import NO_OPINION, Independent
from training.job import Job
from training.models import REWARD, Models
from training.texts import Texts
from training.wins import Scores, gap, win_rate

FOLDER = "independent"
_MAX_JUDGED = (
    256  # training rankings on which it is measured: costs a third of learning from as many
)


def train(job: Job) -> None:
    """As the first one is trained, on the held-out rankings; nothing where the recipe asks for none. Goes on from
    its last checkpoint. Where it cannot be made the report says why, and the gate will not pass."""
    if not (job.recipe.gate.independent_reward and job.plan.is_round):
        return
    folder = job.step_folder(FOLDER)
    known, others = _rankings(job)
    why_not = _why_not(known, others)
    report = {"why_not": why_not} if why_not else _train(job, folder, known, others)
    job.check_mine()
    files.write_text(folder / "report.json", json.dumps(report, indent=1))


def ask(
    job: Job,
    model: Models,
    answers: tuple[Sequence[Group], Sequence[Group]],
    *,
    proxy: tuple[Scores, Scores],
) -> tuple[Independent | None, tuple[Scores, Scores] | None]:
    """What it says of the candidate's and the incumbent's answers, and its scores. `proxy`: those of the round's own.

    It takes the reward model's place in `model`.
    """
    if not job.recipe.gate.independent_reward:
        return None, None
    report = json.loads((job.folder / FOLDER / "report.json").read_text())
    if "why_not" in report:
        return replace(NO_OPINION, why_not=report["why_not"]), None
    reward.load_into(model, job.folder / FOLDER)
    readout = job.recipe.reward.readout
    ours, theirs = (reward.score_groups(model, groups, readout=readout) for groups in answers)
    found = Independent(
        accuracy=Estimate(**report["accuracy"]),
        win_rate=win_rate(ours, theirs),
        proxy_gap=gap(proxy, (ours, theirs)),
    )
    return found, (ours, theirs)


def _rankings(job: Job) -> tuple[list[Ranking], list[Ranking]]:
    """Those it learns from, and those of the first one about prompts that it does not know."""
    read = partial(all_rankings, job.snapshot, texts=Texts(Path(job.plan.base_model)))
    limit = job.recipe.model.max_sequence_tokens
    known = usable(read(split="heldout"), max_tokens=limit).rankings
    others = usable(read(split="train"), max_tokens=limit).rankings
    seen = {r.group.prompt_ids for r in known}
    return known, [r for r in others if r.group.prompt_ids not in seen]


def _why_not(known: Sequence[Ranking], others: Sequence[Ranking]) -> str:
    if not known:
        return (
            "no ranking is held out: collect more, or set independent_reward = false in the recipe"
        )
    if not others:
        return "every prompt that was trained on has a held-out ranking: nothing to measure it by"
    return ""


def _train(
    job: Job, folder: Path, known: list[Ranking], others: Sequence[Ranking]
) -> dict[str, Any]:
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed + 1,  # another start, too
    )
    trainer = reward.RewardTrainer(model, job.recipe.reward, known, seed=job.plan.seed)
    reward.learn(trainer, job, folder, Curves(folder / "metrics.jsonl", step="reward"))
    judged = choose(others, count=min(_MAX_JUDGED, len(others)), seed=job.plan.seed, turn=0)
    readout = job.recipe.reward.readout
    scores = reward.score_groups(model, [r.group for r in judged], readout=readout)
    job.check_mine()
    reward.save(model, folder)
    files.write_lines(folder / "judged.jsonl", reward_report.lines(scores, judged))
    return {
        "accuracy": asdict(reward_report.accuracy(scores, judged)),
        "train_rankings": len(known),
        "train_labelers": len({r.labeler for r in known if r.labeler}),
        "judged_rankings": len(judged),
    }
