"""Who answers better: a reward model that the policy was not trained on, and people.

A policy that was trained against a reward model beats others by its word, right or wrong (Gao et al.,
arXiv 2210.10760). So the judge here is another one, trained on other rankings: `hone train rm` on a split that
the policy's own reward model never saw.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.errors import NotFound
from feedback.formats.records import read
from feedback.quality.intervals import Estimate
from feedback.snapshots.files import sha256_of
from training import models, reward
from training.batches import Group
from training.config import read_reward_recipe
from training.evaluation.answering import Said
from training.evaluation.measures import Values
from training.models import REWARD
from training.rounds import is_done, read_plan
from training.settings import TrainingSettings
from training.texts import Texts
from training.wins import win_rate


class RewardJudge:
    """A reward model that `hone train rm --out` wrote, or a round."""

    def __init__(self, out: Path) -> None:
        """Raises NotFound where there is none."""
        check(out)
        base_model = Path(read_plan(out).base_model)
        recipe = read_reward_recipe(out)
        self.texts = Texts(base_model)
        self._readout = recipe.reward.readout
        self._model = models.load(
            base_model,
            recipe=recipe.model,
            names=[REWARD],
            frozen=[REWARD],
            device=models.resolve_device(TrainingSettings().device),
            seed=0,
        )
        reward.load_into(self._model, out / "reward")

    def score(self, groups: Sequence[Group]) -> list[list[float]]:
        """Of every answer, by prompt."""
        return reward.score_groups(self._model, groups, readout=self._readout)

    def win_rate(self, ours: Sequence[Group], theirs: Sequence[Group]) -> Estimate:
        """Share of (our, their) answers to a prompt that ours wins; a tie is half. What a gate asks."""
        return win_rate(self.score(ours), self.score(theirs))

    def group(self, question: str, answers: Sequence[Said]) -> Group:
        """A question with its sampled answers, in this model's tokens."""
        row = {"messages": [{"role": "user", "content": question}]}
        spoken = [{"text": answer.text, "ended": answer.has_ended} for answer in answers]
        return Group(
            prompt_ids=self.texts.prompt_ids(row),
            answers=tuple(self.texts.answer_ids(a) or (self.texts.eos_id,) for a in spoken),
        )


def check(out: Path) -> None:
    """Raises NotFound where `out` holds no finished reward model."""
    if not is_done(out, "reward"):
        raise NotFound(f"{out} holds no finished reward model: `hone train rm --out {out}`")


def accuracy(out: Path) -> Estimate:
    """How often it decides held-out comparisons as people did."""
    return Estimate(**json.loads((out / "reward" / "report.json").read_text())["accuracy"])


def digest(out: Path) -> str:
    """Of its weights."""
    found = hashlib.sha256()
    for file in sorted((out / "reward").rglob("*.safetensors")):
        if not any(part.name.startswith("state-") for part in file.parents):
            found.update(sha256_of(file).encode())
    return found.hexdigest()


def measure(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Values:
    """Scores of our and of the baseline's answers, by prompt."""
    return {
        "preference/win_rate": [
            win_rate([mine], [other]).value for mine, other in zip(ours, theirs, strict=True)
        ],
        "preference/score": [sum(mine) / len(mine) for mine in ours],
    }


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What people said of one version: a value per prompt, the mean of all that was said about it."""

    win_rate: list[float]  # against the baseline, in rankings that hold both
    likert: list[float]


def people(
    rows: Iterable[Mapping[str, Any]], *, version: str, baseline: str, labelers: frozenset[str]
) -> Verdicts:
    """Of `rankings` and `ratings` as `hone export` writes them, by these labelers alone."""
    won, likert = defaultdict(list), defaultdict(list)
    for row in rows:
        if row["labeler"] not in labelers:
            continue
        if "completions" in row:
            share = _won(row["completions"], version=version, baseline=baseline)
            if share is not None:
                won[_prompt(row["context"])].append(share)
        elif row["version"] == version and row["likert"] is not None:
            likert[_prompt(row["messages"][:-1])].append(float(row["likert"]))
    return Verdicts(
        win_rate=[sum(each) / len(each) for each in won.values()],
        likert=[sum(each) / len(each) for each in likert.values()],
    )


def files(folder: Path) -> list[Path]:
    """Rankings and ratings of a `hone export` folder that are held out: of labelers, or about what people
    asked, that no training sees. Raises NotFound."""
    found = [file for part in ("rankings", "ratings") for file in (folder / part).glob("test.*")]
    if not found:
        raise NotFound(
            f"{folder}: no held-out judgements, rankings/test.* or ratings/test.*; `hone export` writes them"
        )
    return sorted(found)


def read_people(folder: Path) -> list[dict[str, Any]]:
    """Every held-out judgement of a `hone export` folder. Raises NotFound."""
    return [r.value for file in files(folder) for r in read(file) if r.problem is None]


def _prompt(messages: Sequence[Mapping[str, str]]) -> str:
    return json.dumps([[message["role"], message["content"]] for message in messages])


def _won(completions: Sequence[Mapping[str, Any]], *, version: str, baseline: str) -> float | None:
    """The part of the pairs that the version's answers win; None where the set has no such pair."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for completion in completions:
        ranks[completion["version"]].append(int(completion["rank"]))
    pairs = [(mine, other) for mine in ranks[version] for other in ranks[baseline]]
    if not pairs or version == baseline:
        return None
    return sum((mine < other) + 0.5 * (mine == other) for mine, other in pairs) / len(pairs)
