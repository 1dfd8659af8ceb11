"""A simulated crowd before a canary, one person after the other; somebody looks after each of them.

In a step one end user is drawn for an arm and meets something bad or not, and one voter compares blind pairs. What is
decided, and by what code, is serving.canary's own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from serving.canary.decide import Action, decide
from serving.canary.figures import BADS, ArmName, Bad, Figures
from serving.canary.state import Limits

LIMITS = Limits(min_s=0.0, max_s=inf)
_NAIVE_Z = 1.96  # the usual 5 %, for one look
_NAIVE_FROM = 10  # votes, before which nobody would use a normal approximation


@dataclass(frozen=True, kw_only=True)
class World:
    """How people are, and what the canary does to them."""

    name: str
    people: int  # end users, and voters
    share: float = 0.1
    final_share: float | None = None  # reached half way
    win_rate: float = 0.5  # of the canary in a pair, over all voters
    taste: float = 0.0  # voters differ: each one's own rate lies so far above or below
    votes_each: float = 4.0  # on average, geometric
    loud: float = 0.0  # of the voters' votes, those of one of them alone
    ties: float = 0.1
    sets: int | None = (
        None  # all judge the same few, and agree; None: each vote is on a set of its own
    )
    rates: Mapping[Bad, tuple[float, float]] = (
        field(  # what a person meets: production's, the canary's
            default_factory=lambda: {
                "errors": (0.02,) * 2,
                "flags": (0.05,) * 2,
                "thumbs_down": (0.1,) * 2,
            }
        )
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one canary went."""

    action: Action | None  # None: nobody has decided
    after: int  # people
    reason: str
    naive_after: (
        int | None
    )  # people after which a z-test of all votes, looked at as often, would have spoken


def run(world: World, *, seed: int) -> Run:
    """Look after every person; the first final verdict ends it."""
    rng = random.Random(seed)
    figures = Figures(canary="can_1", through={})
    naive_after: int | None = None
    for step in range(1, world.people + 1):
        has_changed = _meet(figures, world, step, rng)
        has_changed |= _vote(figures, world, step, rng, seed=seed)
        if naive_after is None and _is_naively_sure(figures):
            naive_after = step
        if has_changed:
            verdict = decide(figures, LIMITS, elapsed_s=step, status="running")
            if verdict.is_final:
                return Run(
                    action=verdict.action,
                    after=step,
                    reason=verdict.reason,
                    naive_after=naive_after,
                )
    return Run(action=None, after=world.people, reason="", naive_after=naive_after)


def _meet(figures: Figures, world: World, step: int, rng: random.Random) -> bool:
    is_late = world.final_share is not None and step > world.people / 2
    share = world.final_share if is_late and world.final_share is not None else world.share
    arm: ArmName = "canary" if rng.random() < share else "production"
    has_changed = False
    for name in BADS:
        if rng.random() < world.rates[name][arm == "canary"]:
            figures.bad[name].add(f"u{step}", arm, share=share)
            has_changed = True
    return has_changed


def _vote(figures: Figures, world: World, step: int, rng: random.Random, *, seed: int) -> bool:
    who = "loud" if rng.random() < world.loud else f"v{step}"
    own = random.Random(f"{who}:{rng.random() if who != 'loud' else world.name}")
    rate = world.win_rate + world.taste * own.choice((-1, 1))
    num_complete = len(figures.pairs.complete)
    is_over = False
    while not is_over:
        score = 0.5 if rng.random() < world.ties else float(rng.random() < rate)
        name = of = f"{who}:{rng.random()}"
        if world.sets is not None:
            of = str(rng.randrange(world.sets))
            score = float(random.Random(f"{seed}:{of}").random() < world.win_rate)
        figures.pairs.add(who, name, score, of=of, now=0.0)
        is_over = rng.random() < 1 / world.votes_each
    figures.pairs.close_silent(now=inf)
    return len(figures.pairs.complete) > num_complete


def _is_naively_sure(figures: Figures) -> bool:
    pairs = figures.pairs
    if pairs.votes < _NAIVE_FROM:
        return False
    spread = max(1e-9, (pairs.votes - pairs.ties) / 4 / pairs.votes**2) ** 0.5
    return abs(pairs.wins / pairs.votes - 0.5) / spread > _NAIVE_Z
