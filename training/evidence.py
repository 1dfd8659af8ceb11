"""Measures a candidate against the incumbent on held-out prompts, and asks the gate.

1. The candidate on the engines, under a name of its own. 2. Answers of both to the same prompts, same
seeds. 3. Scores, KL, moderation, pretraining loss, lengths. 4. The verdict, bound to the digest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from feedback.quality.intervals import Estimate, mean, share
from moderation.client import ModerationClient
from serving import artifact
from serving.settings import ServingSettings
from training import contest, files, manner, models, ppo, reward
from training.batches import pack, passes
from training.curves import Curves
from training.data import Prompt, choose, read_pretraining
from training.experience import response_logprobs
from training.gate import Drift, Evidence, judge
from training.job import Job
from training.learner import pretraining_losses
from training.models import POLICY, REFERENCE, REWARD, Models
from training.reward_report import HELDOUT_LABELERS
from training.rollouts import EngineRollouts, Rollout
from training.trainer import gap_nats


def run(job: Job) -> dict[str, Any]:
    """Gather the evidence and judge; returns the report. A verdict on the same weights stands."""
    folder = job.step_folder("gate")
    candidate = job.folder / "ppo" / ppo.CANDIDATE
    digest = artifact.read_manifest(candidate).digest
    known = _known_verdict(folder / "report.json", digest)
    if known is not None:
        return known
    model = load_candidate(job, candidate)
    with ppo.open_engines(job) as engines:
        prompts = contest.heldout_prompts(job)
        asked = [
            prompts,
            *(contest.instructed(job, prompts, text) for text in contest.INSTRUCTIONS.values()),
        ]
        (ours, *ours_told), (theirs, *theirs_told) = contest.answers(
            job, engines, candidate, folder, asked
        )
        flagged, flagged_before = (_flagged(engines, prompts, r) for r in (ours, theirs))
        told = {
            name: _share(_flagged(engines, asked[i + 1], ours_told[i]), ours_told[i])
            - _share(_flagged(engines, asked[i + 1], theirs_told[i]), theirs_told[i])
            for i, name in enumerate(contest.INSTRUCTIONS)
        }
    readout = job.recipe.reward.readout
    scores = [
        reward.score_groups(model, [r.group for r in answers], readout=readout)
        for answers in (ours, theirs)
    ]
    losses = _pretraining_losses(job, model)
    gap = gap_nats(model, ours, name=POLICY) if ours else math.nan
    from_reference = kl_nats(model, ours)
    evidence = Evidence(
        digest=digest,
        reward_accuracy=_reward_accuracy(job),
        reward_accuracy_heldout_labelers=_reward_accuracy_heldout_labelers(job),
        win_rate=win_rate(*scores),
        kl_nats=from_reference,
        flagged_candidate=_share(flagged, ours),
        flagged_incumbent=_share(flagged_before, theirs),
        loss_candidate=losses[0],
        loss_reference=losses[1],
        tokens_candidate=_mean_tokens(ours),
        tokens_incumbent=_mean_tokens(theirs),
        drift=Drift(
            kl_incumbent_nats=_kl_from_incumbent(job, model, ours, from_reference),
            candidate=manner.describe(ours),
            incumbent=manner.describe(theirs),
            flagged_increase=told,
            engine_gap_nats=gap,
        ),
    )
    verdict = judge(evidence, job.recipe.gate)
    report = asdict(verdict) | {
        "evidence": asdict(evidence),
        "incumbent": job.plan.parent,
        "flagged": {"candidate": flagged, "incumbent": flagged_before},
        "samples": _side_by_side(prompts, ours, theirs, scores)[: job.recipe.gate.num_shown],
    }
    job.check_mine()
    figures = {f"gate/{check.name}": check.value for check in verdict.checks}
    curves = Curves(job.folder / "metrics.jsonl", step="gate")
    curves.rewind(0)
    curves.append(0, figures | {"gate/passed": float(verdict.passed)})
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


def win_rate(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Estimate:
    """Share of (candidate, incumbent) pairs of a prompt that the candidate wins; a tie is half."""
    wins = [
        sum((a > b) + 0.5 * (a == b) for a in mine for b in other)
        for mine, other in zip(ours, theirs, strict=True)
    ]
    totals = [len(mine) * len(other) for mine, other in zip(ours, theirs, strict=True)]
    return share(wins, totals)


@torch.no_grad()
def kl_nats(model: Models, rollouts: Sequence[Rollout]) -> Estimate:
    """log pi - log pi_ref summed over each of the candidate's own answers; a unit is a prompt."""
    per_prompt: list[float] = [0.0] * len(rollouts)
    lengths = [len(rollout.group) for rollout in rollouts]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        packed = pack([rollouts[i].group for i in indices]).to(model.device)
        trunk_BT = model.trunk(packed.layout)
        policy_N, reference_N = (
            response_logprobs(model, packed, trunk_BT, name=name) for name in (POLICY, REFERENCE)
        )
        answers = iter((policy_N - reference_N).split(packed.lengths_E.tolist()))
        for i in indices:
            sums = [next(answers).sum().item() for _ in rollouts[i].group.answers]
            per_prompt[i] = sum(sums) / len(sums)
    return mean(per_prompt)


@torch.no_grad()
def _kl_from_incumbent(
    job: Job, model: Models, ours: Sequence[Rollout], from_reference: Estimate
) -> Estimate:
    """The same from what answers now. Puts the incumbent in the candidate's place, so it comes last."""
    if job.plan.parent_path is None:
        return from_reference
    candidate = _answer_logprobs(model, ours)
    model.load(POLICY, Path(job.plan.parent_path))
    return mean([a - b for a, b in zip(candidate, _answer_logprobs(model, ours), strict=True)])


def _answer_logprobs(model: Models, rollouts: Sequence[Rollout]) -> list[float]:
    """Nats per answer, mean over a prompt's answers."""
    found: list[float] = [0.0] * len(rollouts)
    lengths = [len(rollout.group) for rollout in rollouts]
    for indices in passes(lengths, max_tokens=model.recipe.tokens_per_pass):
        packed = pack([rollouts[i].group for i in indices]).to(model.device)
        logprobs_N = response_logprobs(model, packed, model.trunk(packed.layout), name=POLICY)
        answers = iter(logprobs_N.split(packed.lengths_E.tolist()))
        for i in indices:
            sums = [next(answers).sum().item() for _ in rollouts[i].group.answers]
            found[i] = sum(sums) / len(sums)
    return found


def _flagged(
    engines: EngineRollouts, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]
) -> list[dict[str, Any]]:
    """The answers that moderation flags, with their prompts and scores: a person can judge them."""
    answers = [
        (prompt.text, text)
        for prompt, rollout in zip(prompts, rollouts, strict=True)
        for text in rollout.texts
    ]
    client = ModerationClient(ServingSettings().moderation_url, engines.session, timeout_s=60.0)
    verdicts = engines.run(client.score([text for _, text in answers])) if answers else []
    return [
        {
            "prompt": prompt,
            "answer": text,
            "scores": {c: verdict.scores[c] for c in verdict.flagged},
        }
        for (prompt, text), verdict in zip(answers, verdicts, strict=True)
        if verdict.flagged
    ]


def _share(flagged: Sequence[Any], rollouts: Sequence[Rollout]) -> float:
    total = sum(len(rollout.texts) for rollout in rollouts)
    return len(flagged) / total if total else float("nan")


@torch.no_grad()
def _pretraining_losses(job: Job, model: Models) -> tuple[float, float]:
    """Nats per token on held-out pretraining text: candidate, reference."""
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
        sum(loss.item() for loss in pretraining_losses(model, examples, name=name))
        for name in (POLICY, REFERENCE)
    )
    return candidate / num_tokens, reference / num_tokens


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
    prompts: Sequence[Prompt],
    ours: Sequence[Rollout],
    theirs: Sequence[Rollout],
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
        for i, (prompt, mine, other) in enumerate(zip(prompts, ours, theirs, strict=True))
    ]


def _known_verdict(path: Path, digest: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text())
    return report if report["digest"] == digest else None


def _mean_tokens(rollouts: Sequence[Rollout]) -> float:
    return _mean(len(answer) for rollout in rollouts for answer in rollout.group.answers)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else float("nan")
