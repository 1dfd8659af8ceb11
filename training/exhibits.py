"""What the gate's figures are from: each answer with all that was measured of it, for who wants to look. Pure.

The files lie beside the report, which names one for every check.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.quality.intervals import Estimate, mean
from training.batches import Group
from training.data import Prompt
from training.rollouts import Rollout

ANSWERS, PRETRAINING = "answers.jsonl", "pretraining.jsonl"
PEOPLE, PUBLIC = "people.jsonl", "public.jsonl"
Columns = Mapping[str, Sequence[Sequence[Any]]]  # name -> by prompt, then by answer


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One policy's answers to some prompts, and which of them moderation flags."""

    prompts: Sequence[Prompt]
    rollouts: Sequence[Rollout]
    flagged: Sequence[Sequence[Mapping[str, float]]]  # by prompt and answer: category -> score

    @property
    def groups(self) -> list[Group]:
        return [rollout.group for rollout in self.rollouts]

    @property
    def mean_tokens(self) -> float:
        lengths = [len(answer) for group in self.groups for answer in group.answers]
        return sum(lengths) / len(lengths) if lengths else math.nan

    def rows(self, columns: Columns, **facts: str) -> Iterator[dict[str, Any]]:
        """A row an answer; `columns` is what else was measured of each."""
        for i, (prompt, rollout) in enumerate(zip(self.prompts, self.rollouts, strict=True)):
            for k, text in enumerate(rollout.texts):
                yield {
                    **facts,
                    "prompt_id": prompt.id,
                    "prompt": prompt.text,
                    "answer": text,
                    "tokens": len(rollout.group.answers[k]),
                    "engine_nats": sum(rollout.logprobs[k]),
                    "flagged": dict(self.flagged[i][k]),
                    **{name: values[i][k] for name, values in columns.items()},
                }


def flagged_increase(ours: Answered, theirs: Answered) -> Estimate:
    """Share of answers that moderation flags, the candidate's less the incumbent's, over prompts."""
    pairs = zip(ours.flagged, theirs.flagged, strict=True)
    return mean([_share(mine) - _share(other) for mine, other in pairs if mine and other])


def _share(answers: Sequence[Mapping[str, float]]) -> float:
    return sum(map(bool, answers)) / len(answers)
