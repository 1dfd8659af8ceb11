"""Simulated labelers of known reliability, on answers whose true order is known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from feedback.quality.judged import Judged

Kind = Literal["good", "average", "position_biased", "lazy", "adversarial"]
KINDS: tuple[Kind, ...] = ("good", "average", "position_biased", "lazy", "adversarial")

WEEK_S = 7 * 86_400
# Temperature of Plackett-Luce on gold scores of standard deviation 1. At 0.58 two labelers agree on 73 % of
# pairs, as the paper's did (RECIPE.md, section 4 B).
TAU = {"good": 0.25, "average": 0.58, "position_biased": 0.58, "adversarial": 0.58}
_READS_POSITION = 0.7  # share of sets that a position-biased labeler orders as they are shown


@dataclass(frozen=True, kw_only=True)
class Day:
    """What a crowd said, and what is true."""

    rows: list[Judged]
    known: dict[str, dict[int, int]]
    accuracy: dict[str, float]  # labeler -> share of pairs decided as gold does


def work(
    people: dict[str, Kind],
    *,
    seed: int,
    num_sets: int = 300,
    overlap: float = 0.3,
    labelers_per_set: int = 3,
    known_share: float = 0.08,
    num_answers: int = 4,
    weeks: int = 4,
) -> Day:
    """A share of the sets is judged by several, a share has known answers, the others are judged once."""
    rng = random.Random(seed)
    rows: list[Judged] = []
    known: dict[str, dict[int, int]] = {}
    right: dict[str, list[int]] = {name: [] for name in people}
    for number in range(num_sets):
        gold = [rng.gauss(0, 1) for _ in range(num_answers)]
        completion_id = f"chatcmpl-{number:05}"
        kind = rng.random()
        if kind < known_share:
            known[completion_id] = dict(enumerate(ranks_of(order_of(gold))))
            chosen = list(people)
        else:
            count = labelers_per_set if kind < known_share + overlap else 1
            chosen = rng.sample(list(people), min(count, len(people)))
        for name in chosen:
            shown = rng.sample(range(num_answers), num_answers)
            ranks = judge(gold, shown, people[name], rng)
            right[name] += [
                (ranks[i] < ranks[j]) == (gold[i] > gold[j])
                for i in range(num_answers)
                for j in range(i)
            ]
            rows.append(
                Judged(
                    id=f"fbk_{len(rows)}",
                    labeler=name,
                    source="labeler",
                    item=tuple((completion_id, index) for index in range(num_answers)),
                    ranks=tuple(ranks),
                    shown=tuple(shown),
                    likert={i: likert(gold[i], people[name], rng) for i in range(num_answers)},
                    created=1_790_000_000 + weeks * WEEK_S * number / num_sets,
                    duration_ms=rng.randrange(30_000, 90_000),
                    num_words=200,
                )
            )
    accuracy = {name: sum(given) / len(given) for name, given in right.items() if given}
    return Day(rows=rows, known=known, accuracy=accuracy)


def ranked(item: str, labeler: str, *ranks: int, **facts: Any) -> Judged:
    """A ranking of the first answers of one completion."""
    given: dict[str, Any] = {
        "id": f"fbk_{item}_{labeler}",
        "source": "labeler",
        "item": tuple((item, index) for index in range(len(ranks))),
    }
    return Judged(labeler=labeler, ranks=ranks, **(given | facts))


def judge(gold: Sequence[float], shown: Sequence[int], kind: Kind, rng: random.Random) -> list[int]:
    """Ranks by answer."""
    if kind == "lazy":
        return ranks_of(rng.sample(range(len(gold)), len(gold)))
    if kind == "position_biased" and rng.random() < _READS_POSITION:
        return ranks_of(list(shown))
    order = plackett_luce(gold, tau=TAU[kind], rng=rng)
    return ranks_of(order[::-1] if kind == "adversarial" else order)


def plackett_luce(gold: Sequence[float], *, tau: float, rng: random.Random) -> list[int]:
    """An order, best first: gold / tau with Gumbel noise."""
    noisy = [g / tau - math.log(-math.log(rng.random())) for g in gold]
    return order_of(noisy)


def likert(gold: float, kind: Kind, rng: random.Random) -> int:
    seen = {"lazy": 0.0, "adversarial": -gold}.get(kind, gold) + rng.gauss(0, 0.6)
    return min(7, max(1, round(4 + 1.5 * seen)))


def order_of(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def ranks_of(order: Sequence[int]) -> list[int]:
    return [list(order).index(i) + 1 for i in range(len(order))]
