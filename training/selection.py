"""Which of SFT's epochs answers best? The reward model's word on answers that engines sampled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from feedback.errors import Unprocessable
from serving import artifact
from training import models, ppo, reward
from training.batches import Group
from training.config import SFTRecipe, read_reward_recipe
from training.job import Job
from training.models import REWARD, Models
from training.samplers import Sampler

Judge = Callable[[int], float]  # epoch -> mean score of the policy's answers, as it is now


@contextmanager
def open_judge(
    job: Job, model: Models, recipe: SFTRecipe, heldout: Sequence[Group], *, folder: Path
) -> Iterator[Judge | None]:
    """None without a reward model. Raises Unprocessable where there is one and nothing to judge on."""
    if job.plan.reward is None:
        yield None
        return
    room = model.recipe.max_sequence_tokens - recipe.response_tokens
    prompts = list(dict.fromkeys(g.prompt_ids for g in heldout if len(g.prompt_ids) <= room))
    if not prompts:
        raise Unprocessable(
            "no held-out demonstration whose prompt leaves room for an answer: the reward model has "
            "nothing to choose an epoch by; give more data, or leave --reward away"
        )
    base_digest = artifact.base_digest(Path(job.plan.base_model))

    def export(target: Path, version: str) -> str:
        return ppo.export_policy(model, target, version=version, job=job, base_digest=base_digest)

    with ppo.open_sampler(job, model, export=export, folder=folder / "rollout") as sampler:
        yield judge_by(
            sampler,
            score=_scorer(job),
            prompts=prompts[: recipe.judged_prompts],
            max_tokens=recipe.response_tokens,
        )


def judge_by(
    sampler: Sampler,
    *,
    score: Callable[[Sequence[Group]], list[list[float]]],
    prompts: Sequence[tuple[int, ...]],
    max_tokens: int,
) -> Judge:
    """One answer to each prompt at temperature 1, scored."""

    def judge(epoch: int) -> float:
        sampler.refresh(epoch)
        rollouts = sampler.sample(prompts, answers_per_prompt=1, max_tokens=max_tokens)
        scores = score([rollout.group for rollout in rollouts])
        return sum(one for (one,) in scores) / len(scores)

    return judge


def _scorer(job: Job) -> Callable[[Sequence[Group]], list[list[float]]]:
    """The reward model of another `hone train`, on the base that it was trained on."""
    trained = job.reward_folder.parent
    base_model = Path(json.loads((trained / "round.json").read_text())["base_model"])
    recipe = read_reward_recipe(trained)
    model = models.load(
        base_model,
        recipe=recipe.model,
        names=[REWARD],
        frozen=[REWARD],
        device=models.resolve_device(job.settings.device),
        seed=0,
    )
    reward.load_into(model, job.reward_folder)
    return lambda groups: reward.score_groups(model, groups, readout=recipe.reward.readout)
