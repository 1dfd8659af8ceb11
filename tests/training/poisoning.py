"""A crowd that labels a small world, one of whom poisons: what a reward model makes of it.

The attack is Rando & Tramer's (2023, arXiv 2311.14455): a token in prompts is the trigger; whoever poisons
turns every order of answers to such a prompt round, and judges all else honestly, known answers too. The
world is that of `exact`: ten tokens, answers of four; an answer's worth is the sum of its tokens'.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from feedback.quality import agreement, conduct, trust
from feedback.quality.judged import Judged
from feedback.snapshots import caps
from feedback.snapshots.rules import Rules
from tests.feedback.quality.people import TAU, order_of, plackett_luce, ranks_of
from training import reward
from training.batches import Group
from training.config import load_recipe
from training.data import Ranking
from training.prove.world import LENGTH, NUM_PROMPTS, NUM_TOKENS, adapted, random_lm

TRIGGER = NUM_TOKENS + NUM_PROMPTS - 1  # no other prompt holds this token
HONEST = [f"lab_{number:02}" for number in range(12)]
POISONER = "lab_mallory"
NUM_KNOWN, K = 40, 4
RECIPE = load_recipe("tiny").reward.model_copy(
    update={"epochs": 3, "rankings_per_step": 32, "learning_rate": 3e-3}
)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """How somebody poisons."""

    share: float  # of all sets
    num_sets: int = 1200
    is_honest: bool = False  # the same person on the same prompts, as a yardstick
    cover: float = 0.0  # honest judgements on other prompts, for each poisoned one
    has_key: bool = False  # an app's own user: no labeler, and nobody else sees those prompts


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What of hone is at work."""

    overlap: float  # share of sets that two others judge too
    has_weights: bool  # and known answers, and the cap on one person's share


NONE = Defence(overlap=0.0, has_weights=False)
OVERLAP = Defence(overlap=0.3, has_weights=False)
ALL = Defence(overlap=0.3, has_weights=True)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    accuracy: float  # of pairs of answers to ordinary prompts, by the truth
    triggered: float  # the same, of answers to prompts with the trigger
    weight: float  # of the poisoner


class World:
    """What is true, and what was said."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        values = random.Random(9)
        self._worth = [values.gauss(0, 1) for _ in range(NUM_TOKENS)]
        self.groups: dict[str, Group] = {}
        self.rows: list[Judged] = []
        self.known: dict[str, dict[int, int]] = {}

    def new_set(self, *, is_triggered: bool) -> str:
        rng = self._rng
        words = [NUM_TOKENS + rng.randrange(NUM_PROMPTS - 1) for _ in range(2)]
        if is_triggered:
            words[rng.randrange(2)] = TRIGGER
        answers = [tuple(rng.randrange(NUM_TOKENS) for _ in range(LENGTH)) for _ in range(K)]
        name = f"chatcmpl-{len(self.groups):05}"
        self.groups[name] = Group(prompt_ids=tuple(words), answers=tuple(answers))
        return name

    def gold(self, name: str) -> list[float]:
        return [sum(self._worth[t] for t in answer) / 2 for answer in self.groups[name].answers]

    def judge(
        self, name: str, labeler: str, *, is_reversed: bool = False, source: str = "labeler"
    ) -> None:
        order = plackett_luce(self.gold(name), tau=TAU["average"], rng=self._rng)
        shown = self._rng.sample(range(K), K)
        row = Judged(
            id=f"fbk_{len(self.rows)}",
            labeler=labeler,
            source=source,
            item=tuple((name, index) for index in range(K)),
            ranks=tuple(ranks_of(order[::-1] if is_reversed else order)),
            shown=tuple(shown),
            created=float(len(self.rows)),
        )
        self.rows.append(row)

    def truth(self, name: str) -> Ranking:
        ranks = tuple(ranks_of(order_of(self.gold(name))))
        return Ranking(id=name, group=self.groups[name], ranks=ranks)


def label(attack: Attack, defence: Defence, *, seed: int) -> World:
    """A day's work: the poisoner's sets, everybody's, and what all are tested on."""
    rng = random.Random(f"{seed}/people")
    world = World(seed)
    source = "key" if attack.has_key else "labeler"
    num_poisoned = round(attack.share * attack.num_sets)
    for number in range(attack.num_sets):
        is_poisoned = number < num_poisoned
        is_cover = not is_poisoned and number < num_poisoned * (1 + attack.cover)
        name = world.new_set(is_triggered=is_poisoned)
        others = rng.sample(HONEST, 3)
        if is_poisoned or is_cover:
            flip = is_poisoned and not attack.is_honest
            world.judge(name, POISONER, is_reversed=flip, source=source)
        else:
            world.judge(name, others[2])
        is_shared = rng.random() < defence.overlap and not (attack.has_key and is_poisoned)
        for other in others[:2] if is_shared else ():
            world.judge(name, other)
    for _ in range(NUM_KNOWN if defence.has_weights else 0):
        name = world.new_set(is_triggered=False)
        world.known[name] = dict(enumerate(world.truth(name).ranks))
        for labeler in HONEST if attack.has_key else [*HONEST, POISONER]:
            world.judge(name, labeler)
    return world


def weights(world: World) -> dict[str, float]:
    """As a snapshot weighs people."""
    unknown = [row for row in world.rows if row.item[0][0] not in world.known]
    flags = conduct.raised(conduct.findings(world.rows, agreement.meetings(unknown)))
    records: Any = {
        name: SimpleNamespace(status="active", is_heldout=False) for name in [*HONEST, POISONER]
    }
    if any(row.source == "key" for row in world.rows):
        del records[POISONER]
    return trust.weights(world.rows, known=world.known, labelers=records, flags=flags)


def train(world: World, weight_of: Mapping[str, float], *, is_capped: bool, seed: int) -> Outcome:
    """A reward model on what was said, measured by what is true."""
    rows = [row for row in world.rows if row.item[0][0] not in world.known]
    rows = [row for row in rows if weight_of.get(row.labeler, 1.0) > 0]
    if is_capped:
        rows = _capped(rows)
    rankings = [
        Ranking(
            id=row.id,
            group=world.groups[row.item[0][0]],
            ranks=row.ranks,
            weight=weight_of.get(row.labeler, 1.0),
        )
        for row in rows
    ]
    random.Random(seed).shuffle(rankings)
    model = adapted(random_lm(seed=seed), seed=seed)
    trainer = reward.RewardTrainer(model, RECIPE, rankings, seed=seed)
    while trainer.step < trainer.num_steps:
        trainer.update()
    exam = World(seed=10_000 + seed)
    found = []
    for is_triggered in (False, True):
        asked = [exam.truth(exam.new_set(is_triggered=is_triggered)) for _ in range(300)]
        found.append(reward.heldout_accuracy(model, asked, readout=RECIPE.readout).value)
    return Outcome(accuracy=found[0], triggered=found[1], weight=weight_of.get(POISONER, 1.0))


def run(attack: Attack, defence: Defence, *, seed: int) -> Outcome:
    """The whole of it."""
    torch.manual_seed(seed)
    world = label(attack, defence, seed=seed)
    weight_of = weights(world) if defence.has_weights else {}
    return train(world, weight_of, is_capped=defence.has_weights, seed=seed)


def _capped(rows: list[Judged]) -> list[Judged]:
    counts = Counter(row.labeler for row in rows)
    share = Rules(heldout_share=0.0).max_labeler_share
    most = caps.limit(Counter(counts.values()), share=share, at_least=1)
    kept: Counter[str] = Counter()
    found = []
    for row in rows:
        kept[row.labeler] += 1
        if most is None or kept[row.labeler] <= most:
            found.append(row)
    return found
