"""Answers that a person can read while PPO trains: `samples.jsonl` of a round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.data import Prompt
from training.experience import Experience
from training.rollouts import Rollout


def samples(
    experience: Experience, rollouts: Sequence[Rollout], *, prompts: Sequence[Prompt], count: int
) -> list[dict[str, Any]]:
    """The first `count` answers as they were scored. A prompt without a text is shown as token ids."""
    texts = {prompt.ids: prompt.text for prompt in prompts}
    found = {
        answer: (rollout.group.prompt_ids, text)
        for rollout in rollouts
        for answer, text in zip(rollout.group.answers, rollout.texts, strict=True)
    }
    packed = experience.passes[0].packed
    answers = packed.targets_N.split(packed.lengths_E.tolist())[:count]
    shown = []
    for answer_N, score, kl in zip(
        answers, experience.joined("scores_E"), experience.kl, strict=False
    ):
        prompt_ids, text = found[tuple(answer_N.tolist())]
        prompt = texts.get(prompt_ids) or " ".join(map(str, prompt_ids))
        shown.append(
            {"prompt": prompt, "answer": text, "score": score.item(), "kl_nats": kl.item()}
        )
    return shown
