"""Measures a candidate against the incumbent on held-out prompts, and asks the gate.

1. The candidate on the engines, under a name of its own. 2. Answers of both to the same prompts, same
seeds. 3. Scores, KL, moderation, pretraining loss, lengths. 4. The verdict, bound to the digest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from feedback.connection import connect
from feedback.history import History
from feedback.quality.intervals import Estimate
from feedback.settings import FeedbackSettings
from moderation.client import ModerationClient
from serving import artifact
from serving.settings import ServingSettings
from training import (
    contest,
    exhibits,
    files,
    independent,
    manner,
    models,
    ppo,
    public,
    reward,
    votes,
)
from training.batches import passes
from training.curves import Curves
from training.data import choose, read_pretraining
from training.divergence import answer_nats, kl_nats
from training.exhibits import Answered, Columns
from training.gate import Drift, Evidence, judge
from training.job import Job
from training.learner import pretraining_losses
from training.models import POLICY, REFERENCE, REWARD, Models
from training.reward_report import HELDOUT_LABELERS
from training.rollouts import EngineRollouts, Rollout
from training.trainer import gap_nats
from training.wins import Scores, win_rate

PLAIN = "plain"  # no instruction before the prompt
INCUMBENT = "incumbent"


def run(job: Job) -> dict[str, Any]:
    """Gather the evidence and judge; returns the report. A verdict on the same weights stands."""
    folder = job.step_folder("gate")
    candidate = job.folder / "ppo" / ppo.CANDIDATE
    digest = artifact.read_manifest(candidate).digest
    known = _known_verdict(folder / "report.json", digest)
    if known is not None:
        return known
    people = _votes(folder, digest=digest, incumbent=job.plan.parent)
    model = load_candidate(job, candidate)
    with ppo.open_engines(job) as engines:
        ours, theirs = _answered(job, engines, candidate, folder)
    plain = ours[PLAIN], theirs[PLAIN]
    groups = plain[0].groups, plain[1].groups
    readout = job.recipe.reward.readout
    scores = (
        reward.score_groups(model, groups[0], readout=readout),
        reward.score_groups(model, groups[1], readout=readout),
    )
    nats = answer_nats(model, plain[0].rollouts, names=(POLICY, REFERENCE))
    gap = gap_nats(model, plain[0].rollouts, name=POLICY) if groups[0] else math.nan
    losses = _pretraining_losses(job, model, folder)
    exam = public.prepare(job)
    known_now = exam.take(model, name=POLICY) if exam else {}
    opinion, others = independent.ask(job, model, groups, proxy=scores)
    incumbent = _put_incumbent(job, model)
    if incumbent == POLICY:
        nats[INCUMBENT] = answer_nats(model, plain[0].rollouts, names=(POLICY,))[POLICY]
    before = nats.get(INCUMBENT, nats[REFERENCE])
    known_before = exam.take(model, name=incumbent) if exam else {}
    evidence = Evidence(
        digest=digest,
        reward_accuracy=_reward_accuracy(job),
        reward_accuracy_heldout_labelers=_reward_accuracy_heldout_labelers(job),
        win_rate=win_rate(*scores),
        kl_nats=kl_nats(nats[POLICY], nats[REFERENCE]),
        flagged_increase=exhibits.flagged_increase(*plain),
        loss_candidate=losses[0],
        loss_reference=losses[1],
        tokens_candidate=plain[0].mean_tokens,
        tokens_incumbent=plain[1].mean_tokens,
        drift=Drift(
            kl_incumbent_nats=kl_nats(nats[POLICY], before),
            candidate=manner.describe(plain[0].rollouts),
            incumbent=manner.describe(plain[1].rollouts),
            flagged_increase={
                name: exhibits.flagged_increase(ours[name], theirs[name])
                for name in contest.INSTRUCTIONS
            },
            engine_gap_nats=gap,
        ),
        independent=opinion,
        public=public.regressed(known_now, known_before),
        people=people,
    )
    verdict = judge(evidence, job.recipe.gate)
    report = asdict(verdict) | {
        "evidence": asdict(evidence),
        "incumbent": job.plan.parent,
        "flagged": {"candidate": _flagged(plain[0]), "incumbent": _flagged(plain[1])},
        "samples": _side_by_side(*plain, scores)[: job.recipe.gate.num_shown],
    }
    of_ours: dict[str, Scores] = {f"{name}_nats": values for name, values in nats.items()}
    of_theirs: dict[str, Scores] = {}
    of_ours["score"], of_theirs["score"] = scores
    if others is not None:
        of_ours["independent_score"], of_theirs["independent_score"] = others
    job.check_mine()
    if exam is not None:
        files.write_lines(folder / exhibits.PUBLIC, public.rows(known_now, known_before))
    files.write_lines(folder / exhibits.ANSWERS, _exhibited(ours, theirs, (of_ours, of_theirs)))
    figures = {f"gate/{c.name}": c.value for c in verdict.checks if math.isfinite(c.value)}
    curves = Curves(job.folder / "metrics.jsonl", step="gate")
    curves.rewind(0)
    curves.append(0, figures | {"gate/passed": float(verdict.passed)})
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


def _votes(folder: Path, *, digest: str, incumbent: str) -> Estimate | None:
    """What people said of these weights, where they have served."""
    with connect(FeedbackSettings().redis_url) as client:
        found = votes.read(client, History(client), digest=digest, incumbent=incumbent)
    files.write_lines(folder / exhibits.PEOPLE, map(asdict, found))
    return votes.win_rate(found)


def _answered(
    job: Job, engines: EngineRollouts, candidate: Path, folder: Path
) -> tuple[dict[str, Answered], dict[str, Answered]]:
    """Candidate's and incumbent's answers to held-out prompts, by the instruction before them."""
    prompts = contest.heldout_prompts(job)
    asked = {PLAIN: prompts} | {
        name: contest.instructed(job, prompts, text) for name, text in contest.INSTRUCTIONS.items()
    }
    found = contest.answers(job, engines, candidate, folder, list(asked.values()))
    ours, theirs = (
        {
            name: Answered(
                prompts=asked[name], rollouts=rollouts, flagged=_moderated(engines, rollouts)
            )
            for name, rollouts in zip(asked, of_policy, strict=True)
        }
        for of_policy in found
    )
    return ours, theirs


def _moderated(
    engines: EngineRollouts, rollouts: Sequence[Rollout]
) -> list[list[dict[str, float]]]:
    """Categories that moderation flags, of every answer."""
    texts = [text for rollout in rollouts for text in rollout.texts]
    client = ModerationClient(ServingSettings().moderation_url, engines.session, timeout_s=60.0)
    verdicts = iter(engines.run(client.score(texts)) if texts else [])
    flagged = ({c: verdict.scores[c] for c in verdict.flagged} for verdict in verdicts)
    return [[next(flagged) for _ in rollout.texts] for rollout in rollouts]


def _put_incumbent(job: Job, model: Models) -> str:
    """The name of what answers now; it takes the candidate's place, so nothing is asked of that any more."""
    if job.plan.parent_path is None:
        return REFERENCE
    model.load(POLICY, Path(job.plan.parent_path))
    return POLICY


def _exhibited(
    ours: Mapping[str, Answered],
    theirs: Mapping[str, Answered],
    columns: tuple[Columns, Columns],
) -> Iterator[dict[str, Any]]:
    """Every answer; what was measured of the plain ones alone is theirs alone."""
    for policy, by_name, measured in zip(
        ("candidate", "incumbent"), (ours, theirs), columns, strict=True
    ):
        for name, answered in by_name.items():
            of_plain = measured if name == PLAIN else {}
            yield from answered.rows(of_plain, policy=policy, instruction=name)


def _flagged(answered: Answered) -> list[dict[str, Any]]:
    """The answers that moderation flags, with their prompts and scores: a person can judge them."""
    return [
        {"prompt": row["prompt"], "answer": row["answer"], "scores": row["flagged"]}
        for row in answered.rows({})
        if row["flagged"]
    ]


@torch.no_grad()
def _pretraining_losses(job: Job, model: Models, folder: Path) -> tuple[float, float]:
    """Nats per token on held-out pretraining text: candidate, reference. Pass by pass they are written down."""
    tokenizer = AutoTokenizer.from_pretrained(job.plan.base_model)
    examples = read_pretraining(
        job.settings.ptx_path,
        tokenize=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        example_tokens=job.recipe.ppo.ptx_tokens,
        split="heldout",
    )
    count = min(job.recipe.gate.ptx_examples, len(examples))
    examples = choose(examples, count=count, seed=job.plan.seed, turn=0)
    num_tokens = sum(len(example) - 1 for example in examples)
    candidate, reference = (
        [loss.item() for loss in pretraining_losses(model, examples, name=name)]
        for name in (POLICY, REFERENCE)
    )
    parts = passes([len(example) for example in examples], max_tokens=model.recipe.tokens_per_pass)
    rows = (
        {
            "texts": [tokenizer.decode(examples[i]) for i in indices],
            "tokens": sum(len(examples[i]) - 1 for i in indices),
            "candidate_nats": ours,
            "reference_nats": theirs,
        }
        for indices, ours, theirs in zip(parts, candidate, reference, strict=True)
    )
    files.write_lines(folder / exhibits.PRETRAINING, rows)
    return sum(candidate) / num_tokens, sum(reference) / num_tokens


def load_candidate(job: Job, candidate: Path) -> Models:
    model = models.load(
        Path(job.plan.base_model),
        recipe=job.recipe.model,
        names=[POLICY, REWARD],
        frozen=[POLICY, REWARD],
        device=models.resolve_device(job.settings.device),
        seed=job.plan.seed,
    )
    reward.load_into(model, job.folder / "reward")
    model.load(POLICY, candidate)
    return model


def _reward_accuracy(job: Job) -> Estimate:
    return Estimate(**_reward_report(job)["accuracy"])


def _reward_accuracy_heldout_labelers(job: Job) -> Estimate | None:
    found = _reward_report(job)["accuracy_by_group"].get(HELDOUT_LABELERS)
    return Estimate(**found) if found is not None else None


def _reward_report(job: Job) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((job.folder / "reward" / "report.json").read_text())
    return report


def _side_by_side(
    ours: Answered,
    theirs: Answered,
    scores: Sequence[Sequence[Sequence[float]]],
) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt.text,
            "candidate": mine.texts[0],
            "incumbent": other.texts[0],
            "candidate_score": scores[0][i][0],
            "incumbent_score": scores[1][i][0],
        }
        for i, (prompt, mine, other) in enumerate(
            zip(ours.prompts, ours.rollouts, theirs.rollouts, strict=True)
        )
    ]


def _known_verdict(path: Path, digest: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text())
    return report if report["digest"] == digest else None
