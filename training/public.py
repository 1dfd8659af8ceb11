"""Public tasks in the gate: has the candidate forgotten what the incumbent knew? By log-probabilities, unit by unit.

The texts are the operator's (HONE_TRAINING_PUBLIC_DATA), laid out as for `hone evaluate --data`; without them nothing
is asked. What is generated is judged by moderation anyway, under every instruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.quality.intervals import Estimate
from training.evaluation import bias, materials, truthfulqa
from training.evaluation.likelihood import Scorer
from training.evaluation.materials import Materials, Sources
from training.evaluation.measures import Values, regressions
from training.job import Job
from training.models import Models
from training.texts import Texts


@dataclass(frozen=True, kw_only=True)
class Exam:
    """The questions; the same for candidate and incumbent."""

    job: Job
    found: Materials

    def take(self, model: Models, *, name: str) -> Values:
        """What one of the models is worth on each unit."""
        gate, found = self.job.recipe.gate, self.found
        score = Scorer(model, name=name, texts=Texts(Path(self.job.plan.base_model)))
        values: Values = {}
        if "truthfulqa" in gate.public_tasks:
            values |= truthfulqa.multiple_choice(found.questions, score=score)
        if "bias" in gate.public_tasks:
            pairs = {"winogender": found.winogender, "crows_pairs": found.crows_pairs}
            values |= bias.measure(**pairs, score=score)
        if found.text is not None:
            text, _ = materials.read_examples(
                found.text,
                tokenize=score.tokenize,
                count=gate.public_units,
                seed=self.job.plan.seed,
            )
            values["tax/text"] = score.nats_per_token(text)
        return values


def prepare(job: Job) -> Exam | None:
    """None where the recipe asks for no task, or there is no data. Raises NotFound, Unprocessable for data that is
    not what it is named."""
    gate, data = job.recipe.gate, job.settings.public_data
    if not gate.public_tasks or data is None:
        return None
    found = materials.gather(
        Sources(data=data), suites=gate.public_tasks, count=gate.public_units, seed=job.plan.seed
    )
    return Exam(job=job, found=found)


def regressed(ours: Values, theirs: Values) -> dict[str, Estimate]:
    """By how much the candidate is worse, by measure."""
    return {f"worse_{name.replace('/', '_')}": e for name, e in regressions(ours, theirs).items()}


def rows(ours: Values, theirs: Values) -> Iterator[dict[str, Any]]:
    """A row for each unit of each measure."""
    for name, values in ours.items():
        for unit, (one, other) in enumerate(zip(values, theirs[name], strict=True)):
            yield {"measure": name, "unit": unit, "candidate": one, "incumbent": other}
