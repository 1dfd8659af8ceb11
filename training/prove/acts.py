"""The three acts of experiment E: who labels how in each, how it is to end, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.registry import BASE
from training.demo_people import gold
from training.prove.report import Mark, at_least

Taste = Callable[[str], float]


@dataclass(frozen=True, kw_only=True)
class Act:
    """One round: who labels how, and what is to come of it."""

    name: str
    num_sets: int
    labelers_like: Taste
    heldout_like: Taste
    end_users_like: Taste
    blocks: str = ""  # the act whose labelers, but for the held-out one, count no more
    erases: str = ""  # the act whose voters leave, and have all erased that they asked and said
    round_ends: str = "finished"
    canary_ends: str = ""  # empty: there is none


def cold(text: str) -> float:
    """The opposite of what honest labelers like."""
    return -gold(text)


def acts(*, num_sets: int) -> list[Act]:
    """The second outweighs the first: each snapshot holds all judgements so far."""
    return [
        Act(
            name="misled",
            num_sets=num_sets,
            labelers_like=gold,
            heldout_like=gold,
            end_users_like=cold,
            canary_ends="rolled_back",
        ),
        Act(
            name="poisoned",
            num_sets=num_sets * 4 // 3,
            labelers_like=cold,
            heldout_like=gold,
            end_users_like=gold,
            round_ends="refused",
        ),
        Act(
            name="honest",
            num_sets=num_sets,
            labelers_like=gold,
            heldout_like=gold,
            end_users_like=gold,
            blocks="poisoned",
            erases="misled",
            canary_ends="promoted",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an act."""

    act: str
    round: str
    round_status: str
    failed_checks: str
    version: str  # that became a canary
    canary_outcome: str
    end_reason: str
    rankings: int
    votes: int
    production: str  # afterwards
    seconds_labeling: float
    seconds_round: float
    seconds_canary: float


def marks(outcomes: Sequence[Outcome], wanted: Sequence[Act]) -> list[Mark]:
    """Each act ended as it had to, and what is live is the version that people wanted."""
    found = []
    for outcome, act in zip(outcomes, wanted, strict=True):
        found.append(
            at_least(
                f"{act.name}: the round is {act.round_ends}",
                outcome.round_status == act.round_ends,
                1,
            )
        )
        if act.canary_ends:
            ended = outcome.canary_outcome == act.canary_ends
            found.append(at_least(f"{act.name}: people have it {act.canary_ends}", ended, 1))
    *before, last = outcomes
    is_live = bool(last.version) and last.production == last.version
    only_then = is_live and all(outcome.production == BASE for outcome in before)
    return [
        *found,
        at_least("the honest version is live at the end, and no other before", only_then, 1),
    ]
