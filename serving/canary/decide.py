"""Promote a canary, hold it, or roll it back? Pure: figures and limits in, a verdict with its reasons out.

Five tests share alpha equally: errors, flags, thumbs down and lost pairs roll back, won pairs promote. So with two
versions that are alike any of them ever speaks with a probability of at most alpha, however often one looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from serving.canary import evidence
from serving.canary.figures import BADS, Figures
from serving.canary.state import Limits, Status

Action = Literal["promote", "hold", "roll_back"]

_NUM_TESTS = len(BADS) + 2
_WORDS = {
    "errors": "answers fail for more people than in production",
    "flags": "moderation flags answers to more people than in production",
    "thumbs_down": "more people give a thumb down than in production",
    "pairs_lost": "people prefer production in blind pairs",
    "pairs_won": "people prefer the canary in blind pairs",
}


@dataclass(frozen=True, kw_only=True)
class Test:
    """One of the five, as it stands."""

    __test__ = False  # pytest: not one of its own

    name: str
    e_value: float
    needed: float  # 1 / its part of alpha
    people: int  # that it has heard

    @property
    def has_spoken(self) -> bool:
        return self.e_value >= self.needed


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be done now."""

    action: Action
    reason: str
    is_final: bool  # false: hold on, it is not decided yet
    tests: tuple[Test, ...]

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def decide(figures: Figures, limits: Limits, *, elapsed_s: float, status: Status) -> Verdict:
    """Harm at once and always; promotion after a while, unless an operator decides; at the end what was set."""
    tests = tuple(_tests(figures, limits))
    harmful = next((test for test in tests[:-1] if test.has_spoken), None)
    if harmful is not None:
        return Verdict(action="roll_back", reason=_say(harmful), is_final=True, tests=tests)
    won = tests[-1]
    if status == "held":
        reason = "held for an operator to decide"
        return Verdict(action="hold", reason=reason, is_final=False, tests=tests)
    if won.has_spoken and elapsed_s >= limits.min_s:
        return Verdict(action="promote", reason=_say(won), is_final=True, tests=tests)
    if elapsed_s >= limits.max_s:
        action: Action = "promote" if limits.on_end == "promote" else "hold"
        reason = f"no test has decided in {limits.max_s:.0f} s"
        return Verdict(action=action, reason=reason, is_final=True, tests=tests)
    return Verdict(action="hold", reason="not decided yet", is_final=False, tests=tests)


def _tests(figures: Figures, limits: Limits) -> Iterator[Test]:
    """Those that roll back, then the one that promotes."""
    needed = _NUM_TESTS / limits.alpha
    for name in BADS:
        people = figures.bad[name].by_share()
        heard = sum(canary + production for _, canary, production in people)
        yield Test(name=name, e_value=evidence.harm(people), needed=needed, people=heard)
    votes = figures.pairs.units()
    voters = sum(people for _, people in votes)
    for pairs, e_value in (("pairs_lost", evidence.losses), ("pairs_won", evidence.wins)):
        yield Test(name=pairs, e_value=e_value(votes), needed=needed, people=voters)


def _say(test: Test) -> str:
    return (
        f"{_WORDS[test.name]} (e = {test.e_value:.3g} of {test.needed:.0f}, {test.people} people)"
    )
