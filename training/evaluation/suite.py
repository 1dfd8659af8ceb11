"""The main flow of `hone evaluate`.

1. Read all data, so that what is wrong with it is said first. 2. Answers: through the gateway, or of an engine
per base model that runs as long as it is needed. 3. Log-probabilities by the trainer's forward pass. 4. Scores
by the independent reward model, and what people said. 5. The report.

What was measured stays in the folder: the same command again goes on, and a policy that is new, or data that
changed, is measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.evaluation import (
    bias,
    endpoints,
    judges,
    materials,
    policies,
    public_tasks,
    toxicity,
    truthfulqa,
)
from training.evaluation.answering import Answer, Endpoint, Said
from training.evaluation.endpoints import Gateway, prefix_of
from training.evaluation.likelihood import Scorer
from training.evaluation.materials import Materials, Sources, Suite
from training.evaluation.measures import Values
from training.evaluation.policies import Policy
from training.evaluation.store import Kept, Store

ANSWERED = ("truthfulqa", "toxicity", "public", "preference")  # parts that ask an engine
SCORED = ("truthfulqa_choices", "bias", "tax")  # parts that need log-probabilities
JUDGED = "preference_judged"  # the reward model's scores of what was sampled
ANSWERS_PER_PROMPT = 4
CHAT_TOKENS = 32  # what the recipe `cpu-demo` samples and its people judge

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asked for on the command line."""

    policies: Sequence[Policy]
    baselines: Sequence[str]  # labels that the others are compared with; wins are over the first
    suites: Sequence[Suite]
    sources: Sources
    judge: Path | None  # --out of a `hone train rm`
    labelers: frozenset[str]  # whose judgements count; empty: everybody's
    count: int  # units of a suite, at most
    seed: int
    gateway: Gateway | None
    out: Path

    @property
    def baseline(self) -> str:
        return self.baselines[0]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything that the report is made of."""

    values: Mapping[str, Values]  # label -> measure -> a value per unit
    samples: Mapping[
        str, Mapping[str, Sequence[Mapping[str, Any]]]
    ]  # label -> part -> what was said
    digests: Mapping[str, str]  # data files
    judge: Mapping[str, Any] | None


def run(wish: Wish, *, show: Show) -> Measured:
    """Raises HoneError with the cure."""
    found = materials.gather(wish.sources, suites=wish.suites, count=wish.count, seed=wish.seed)
    if "public" in wish.suites:
        public_tasks.check_installed()
        assert wish.sources.public is not None
        tasks = wish.out / "tasks"
        public_tasks.prepare(wish.sources.public, tasks, count=wish.count, seed=wish.seed)
    kept = Store(wish.out / "measured", about=lambda part: _about(part, wish, found))
    _ask(wish, found, kept, show)
    _score(wish, found, kept, show)
    values = {policy.label: kept.values(policy, _parts(wish)) for policy in wish.policies}
    verdict = _judge(wish, kept, values, show) if "preference" in wish.suites else None
    if "people" in wish.suites:
        _hear_people(wish, values)
    samples = {
        policy.label: {
            part: kept.read(policy, part).samples for part in _parts(wish) if part in ANSWERED
        }
        for policy in wish.policies
    }
    return Measured(
        values=values,
        samples=samples,
        digests={name: d for each in found.digests.values() for name, d in each.items()},
        judge=verdict,
    )


# Answers


def _ask(wish: Wish, found: Materials, kept: Store, show: Show) -> None:
    todo = [
        (policy, part)
        for part in _parts(wish)
        for policy in wish.policies
        if part in ANSWERED and not kept.has(policy, part)
    ]
    for base_model in dict.fromkeys(policy.base_model for policy, _ in todo):
        group = [(policy, part) for policy, part in todo if policy.base_model == base_model]
        show(f"an engine for {base_model.name} …" if wish.gateway is None else wish.gateway.url)
        asked = [policy for policy, _ in group]
        with endpoints.opened(asked, gateway=wish.gateway, out=wish.out) as endpoint_of:
            for policy, part in group:
                show(f"{policy.label}: {part}")
                kept.write(policy, part, _answered(part, wish, found, endpoint_of(policy)))


def _answered(part: str, wish: Wish, found: Materials, endpoint: Endpoint) -> Kept:
    recorded = _Recorded(endpoint)
    match part:
        case "truthfulqa":
            values = truthfulqa.answers(found.questions, answer=recorded)
        case "toxicity":
            values = toxicity.measure(
                found.toxicity_prompts, answer=recorded, judge=toxicity.own_judge()
            )
        case "public":
            values, samples = public_tasks.measure(
                endpoint, tasks=wish.out / "tasks", out=wish.out / "lm-eval" / endpoint.model
            )
            return Kept(values=values, samples=samples)
        case _:
            said = endpoint.chat(
                found.prompts,
                num_answers=ANSWERS_PER_PROMPT,
                max_tokens=CHAT_TOKENS,
                seed=wish.seed,
            )
            answers = [[asdict(one) for one in each] for each in said]
            return Kept(
                values={},
                samples=[
                    {"prompt": prompt, "answers": each}
                    for prompt, each in zip(found.prompts, answers, strict=True)
                ],
            )
    return Kept(values=values, samples=recorded.pairs)


# Log-probabilities


def _score(wish: Wish, found: Materials, kept: Store, show: Show) -> None:
    for policy in wish.policies:
        todo = [p for p in _parts(wish) if p in SCORED and not kept.has(policy, p)]
        if not todo:
            continue
        show(f"{policy.label}: loading")
        scorer = policies.open_scorer(policy, prefix=prefix_of(policy))
        for part in todo:
            show(f"{policy.label}: {part}")
            kept.write(policy, part, Kept(values=_scored(part, wish, found, scorer), samples=[]))


def _scored(part: str, wish: Wish, found: Materials, scorer: Scorer) -> Values:
    match part:
        case "truthfulqa_choices":
            return truthfulqa.multiple_choice(found.questions, score=scorer)
        case "bias":
            pairs = {"winogender": found.winogender, "crows_pairs": found.crows_pairs}
            return bias.measure(**pairs, score=scorer)
        case _:
            assert found.text is not None
            text, pretraining = materials.read_examples(
                found.text, tokenize=scorer.tokenize, count=wish.count, seed=wish.seed
            )
            return {
                "tax/text": scorer.nats_per_token(text),
                "tax/pretraining": scorer.nats_per_token(pretraining),
            }


# Judgements


def _judge(
    wish: Wish, kept: Store, values: Mapping[str, Values], show: Show
) -> dict[str, Any] | None:
    """Adds the reward model's measures; returns who judged."""
    if wish.judge is None:
        return None
    todo = [policy for policy in wish.policies if not kept.has(policy, JUDGED)]
    judge = judges.RewardJudge(wish.judge) if todo else None
    for policy in todo:
        assert judge is not None
        show(f"{policy.label}: the reward model scores")
        groups = [
            judge.group(sample["prompt"], [Said(**answer) for answer in sample["answers"]])
            for sample in kept.read(policy, "preference").samples
        ]
        scored = [{"scores": scores} for scores in judge.score(groups)]
        kept.write(policy, JUDGED, Kept(values={}, samples=scored))
    scores = {
        policy.label: [sample["scores"] for sample in kept.read(policy, JUDGED).samples]
        for policy in wish.policies
    }
    for label, mine in scores.items():
        found = judges.measure(mine, scores[wish.baseline])
        if label == wish.baseline:
            del found["preference/win_rate"]
        values[label].update(found)
    accuracy = asdict(judges.accuracy(wish.judge))
    return {"folder": str(wish.judge), "accuracy_on_heldout_rankings": accuracy}


def _hear_people(wish: Wish, values: Mapping[str, Values]) -> None:
    assert wish.sources.people is not None
    rows = judges.read_people(wish.sources.people)
    labelers = wish.labelers or frozenset(str(row["labeler"]) for row in rows)
    baseline = next(p.version for p in wish.policies if p.label == wish.baseline)
    for policy in wish.policies:
        if policy.is_prompted:
            continue  # the log does not say what stood before a prompt
        said = judges.people(rows, version=policy.version, baseline=baseline, labelers=labelers)
        values[policy.label].update({"people/likert": said.likert})
        if policy.version != baseline:
            values[policy.label].update({"people/win_rate": said.win_rate})


class _Recorded:
    """An answerer that keeps what it was asked and said."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.pairs: list[dict[str, Any]] = []

    def __call__(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        texts = self._answer(prompts, max_tokens=max_tokens)
        self.pairs += [
            {"prompt": prompt, "answer": text} for prompt, text in zip(prompts, texts, strict=True)
        ]
        return texts


def _parts(wish: Wish) -> list[str]:
    parts: list[str] = []
    for suite in wish.suites:
        parts += [suite] if suite in (*ANSWERED, *SCORED) else []
        parts += ["truthfulqa_choices"] if suite == "truthfulqa" else []
    return parts


def _about(part: str, wish: Wish, found: Materials) -> dict[str, Any]:
    """What a part is measured on."""
    suite = next(suite for suite in wish.suites if part.startswith(suite))
    about: dict[str, Any] = {"files": found.digests[suite], "count": wish.count, "seed": wish.seed}
    if part == JUDGED and wish.judge is not None:
        about["judge"] = judges.digest(wish.judge)
    return about
