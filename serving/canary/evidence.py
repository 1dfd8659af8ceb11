"""How strongly figures speak against chance, at whatever moment one looks. Pure.

An e-value is what a gambler would have made of 1 who bets against "no difference": a supermartingale under it, so
that it ever reaches 1/alpha with a probability of at most alpha (Ville 1939; Robbins, Ann. Math. Stat. 41, 1970).
One may look after every answer and stop when one likes. Mixing over stakes is Robbins' mixture SPRT (Johari et al.,
KDD 2017). A person is one stake, laid once their votes are complete: many votes, or a taste of one's own, count once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from serving.canary.figures import Shares, Units

# By how much more often than chance the canary harms: odds ratios, mixed in equal parts.
_ODDS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
# Stakes on a mean vote, as parts of the largest that cannot lose more than all.
_STAKES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.98)
_GRID = 100  # win rates that an interval is made of


def harm(people: Shares) -> float:
    """E-value of "the canary harms more people": of those who met something bad the hash drew each for the canary
    with the probability `share`, unless the canary makes it likelier. Exact, whatever the usual rate is."""
    return _mean_exp(
        [
            sum(
                canary * math.log(odds) - (canary + production) * math.log1p(share * (odds - 1))
                for share, canary, production in people
            )
            for odds in _ODDS
        ]
    )


def wins(votes: Units, *, over: float = 0.5) -> float:
    """E-value of "people prefer the canary in more than `over` of the pairs": betting on the mean of what is bounded
    (Waudby-Smith and Ramdas, JRSS B 86, 2024; section 4)."""
    return _mean_exp([_log_capital(votes, over, stake / over) for stake in _STAKES])


def losses(votes: Units, *, under: float = 0.5) -> float:
    """The same for "in fewer than `under`"."""
    return wins([(1 - vote, people) for vote, people in votes], over=1 - under)


def win_rate_interval(votes: Units, *, alpha: float) -> tuple[float, float]:
    """A confidence sequence: it holds the mean win rate at every moment at once, with a probability of 1 - alpha."""
    return _interval(tuple(votes), alpha)


@lru_cache(maxsize=64)
def _interval(votes: tuple[tuple[float, int], ...], alpha: float) -> tuple[float, float]:
    inside = [
        rate
        for step in range(1, _GRID)
        if max(wins(list(votes), over=(rate := step / _GRID)), losses(list(votes), under=rate))
        < 2 / alpha
    ]
    low, high = (min(inside), max(inside)) if inside else (0.5, 0.5)
    return (0.0 if low <= 1 / _GRID else low), (1.0 if high >= 1 - 1 / _GRID else high)


def _log_capital(votes: Iterable[tuple[float, int]], over: float, stake: float) -> float:
    return sum(people * math.log1p(stake * (vote - over)) for vote, people in votes)


def _mean_exp(logs: Sequence[float]) -> float:
    """Of the mixture's parts; no more than a float holds."""
    top = max(logs)
    mean = sum(math.exp(each - top) for each in logs) / len(logs)
    return math.exp(min(top + math.log(mean), 700.0))
