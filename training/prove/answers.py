"""Answers of the reference and of a round's candidate to the same prompts, from the round's engines:
gold, the round's reward model's score, and the candidate's KL."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feedback.quality.intervals import Estimate
from serving.registry import BASE
from training import contest, evidence, ppo, reward
from training.demo_people import gold
from training.divergence import from_reference
from training.job import Job
from training.rollouts import EngineRollouts, Rollout
from training.texts import Texts

_IN_FLIGHT = 64  # more than the engine makes at a time, so that its batch stays full


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Answers of one model, prompts × samples."""

    gold: list[list[float]]
    scores: list[list[float]]  # of the round's reward model


def measure(
    round_dir: Path,
    prompts: Sequence[str],
    *,
    engine_token: str,
    num_reference: int,
    num_candidate: int,
    seed: int,
) -> tuple[Judged, Judged, Estimate]:
    """Reference, candidate, and the candidate's KL from the reference, nats per answer.

    The candidate need not have passed the gate.
    """
    job = Job.open(round_dir)
    candidate = round_dir / "ppo" / ppo.CANDIDATE
    texts = Texts(Path(job.plan.base_model))
    ids = [texts.prompt_ids({"messages": [{"role": "user", "content": p}]}) for p in prompts]
    served = contest.serve_copy(job, candidate, job.step_folder("gate"))
    with EngineRollouts(
        job.plan.engine_urls, token=engine_token, concurrency=_IN_FLIGHT
    ) as engines:
        engines.load(served)
        wanted = ((BASE, num_reference), (served.version, num_candidate))
        reference, ours = (
            engines.sample(
                version,
                ids,
                answers_per_prompt=count,
                max_tokens=job.recipe.ppo.response_tokens,
                seed=seed,
            )
            for version, count in wanted
        )
        engines.unload(served.version)
    shutil.rmtree(served.folder)
    model = evidence.load_candidate(job, candidate)

    def judged(rollouts: Sequence[Rollout]) -> Judged:
        groups = [rollout.group for rollout in rollouts]
        return Judged(
            gold=[[gold(text) for text in rollout.texts] for rollout in rollouts],
            scores=reward.score_groups(model, groups, readout=job.recipe.reward.readout),
        )

    return judged(reference), judged(ours), from_reference(model, ours)
