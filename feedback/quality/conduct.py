"""How a labeler works, apart from what they say: signs of not reading, and of not meaning it.

Every test says how likely an honest labeler is to look like this, and needs both: that this is unlikely, and
that it is large. Thresholds are for the tests of one labeler; a flag halves the weight, an outlier loses it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from feedback.quality.agreement import Meeting
from feedback.quality.intervals import Floats
from feedback.quality.judged import Judged
from feedback.quality.trust import OUTLIER

TOO_FAST = "too_fast"
POSITION_BIAS = "position_bias"
STRAIGHT_LINING = "straight_lining"

# Adults read English silently at 238 words a minute, and almost all of them below 350 (Brysbaert 2019,
# doi 10.1016/j.jml.2019.104047). Three times that is skimming, with no time left to judge.
_MAX_WORDS_PER_MINUTE = 1_000
_MIN_WORDS = 40  # shorter sets are taken in at a glance
_MIN_SETS = 10
_MAX_FAST_SHARE = 0.2
_MAX_P = 1e-3
_MIN_EXCESS = 0.1  # of the favoured position's share over what chance gives
_MAX_SAME_SHARE = 0.5  # of sets answered with one and the same pattern
_TOLERANCE = 0.1  # an honest labeler may agree with others by this much less than they do
_FALSE_ALARMS = 0.05  # outliers called among any number of honest labelers, however often one looks
_BETS = (0.1, 0.2, 0.4, 0.8)
_TURNED = 0.25  # of a set's pairs decided as others do, at most: it was turned round
_MIN_TURNED_PAIRS = 3
_OFTEN, _SELDOM = (
    1.5,
    0.03,
)  # turning sets round 1.5 times as often as others, or three in a hundred, is honest

_Set = tuple[float, float]  # agreement with others, pairs decided


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test of one labeler."""

    flag: str
    is_raised: bool
    num_sets: int  # that the test could use
    size: float  # what was measured; see `meaning`
    strength: float  # p-value; for an outlier the e-value; for too fast 1 or 0
    meaning: str  # a sentence for the operator


def findings(rows: Iterable[Judged], met: Sequence[Meeting]) -> dict[str, dict[str, Finding]]:
    """labeler -> flag -> finding, for all who ranked something. `met`: their meetings."""
    by_labeler: defaultdict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        if row.ranks:
            by_labeler[row.labeler].append(row)
    outliers = outlier(met)
    found = {}
    for labeler, own in by_labeler.items():
        tests = [too_fast(own), position_bias(own), straight_lining(own)]
        if labeler in outliers:
            tests.append(outliers[labeler])
        found[labeler] = {test.flag: test for test in tests}
    return found


def raised(found: Mapping[str, Mapping[str, Finding]]) -> dict[str, frozenset[str]]:
    """labeler -> flags that are up."""
    return {
        labeler: frozenset(flag for flag, finding in tests.items() if finding.is_raised)
        for labeler, tests in found.items()
    }


def too_fast(rows: Iterable[Judged]) -> Finding:
    """Sets judged faster than anybody reads, of those long enough to tell."""
    speeds = [
        row.num_words / (row.duration_ms / 60_000)
        for row in rows
        if row.duration_ms is not None and row.num_words >= _MIN_WORDS and row.duration_ms > 0
    ]
    share = sum(speed > _MAX_WORDS_PER_MINUTE for speed in speeds) / len(speeds) if speeds else 0.0
    is_raised = len(speeds) >= _MIN_SETS and share > _MAX_FAST_SHARE
    typical = statistics.median(speeds) if speeds else 0.0
    return Finding(
        flag=TOO_FAST,
        is_raised=is_raised,
        num_sets=len(speeds),
        size=share,
        strength=float(is_raised),
        meaning=f"{share:.0%} of sets judged faster than {_MAX_WORDS_PER_MINUTE} words a minute, "
        f"half of them at {typical:.0f} or more",
    )


def position_counts(rows: Iterable[Judged]) -> dict[int, list[int]]:
    """K -> how often the one best answer was shown first, second, …"""
    counts: dict[int, list[int]] = {}
    for row in rows:
        best = [position for position, rank in enumerate(row.ranks) if rank == 1]
        if len(best) == 1 and len(row.shown) == len(row.ranks) > 1:
            counts.setdefault(len(row.ranks), [0] * len(row.ranks))[row.shown.index(best[0])] += 1
    return counts


def position_bias(rows: Iterable[Judged]) -> Finding:
    """The order on the screen is shuffled, so the best answer is in every position equally often.

    Chi-squared against that, K by K, added up; exact (by simulation under the null) where fewer than
    five are expected in a position.
    """
    counts = position_counts(rows)
    num = sum(map(sum, counts.values()))
    p = _uniform_p(list(counts.values())) if num >= _MIN_SETS else 1.0
    # Share of the favoured position over what chance gives, averaged over K.
    excess = sum(max(c) - sum(c) / k for k, c in counts.items()) / num if num else 0.0
    favoured = Counter({k: c.index(max(c)) + 1 for k, c in counts.items()})
    where = ", ".join(f"place {place} of {k}" for k, place in sorted(favoured.items()))
    return Finding(
        flag=POSITION_BIAS,
        is_raised=num >= _MIN_SETS and p < _MAX_P and excess > _MIN_EXCESS,
        num_sets=num,
        size=excess,
        strength=p,
        meaning=f"the best answer was {excess:.0%} more often than by chance at {where or 'no place'}",
    )


def straight_lining(rows: Iterable[Judged]) -> Finding:
    """The same ranks by position on the screen, again and again; ties everywhere are such a pattern too.

    An honest labeler meets any one order of K shuffled answers with chance 1/K!, half at most.
    """
    patterns: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        if len(row.shown) == len(row.ranks) > 1:
            patterns[tuple(row.ranks[position] for position in row.shown)] += 1
    num = patterns.total()
    pattern, times = patterns.most_common(1)[0] if patterns else ((), 0)
    by_chance = 1 / math.factorial(min(len(pattern), 4)) if len(set(pattern)) > 1 else 0.5
    p = float(stats.binom.sf(times - 1, num, by_chance)) if num else 1.0
    share = times / num if num else 0.0
    return Finding(
        flag=STRAIGHT_LINING,
        is_raised=num >= _MIN_SETS and p < _MAX_P and share > _MAX_SAME_SHARE,
        num_sets=num,
        size=share,
        strength=p,
        meaning=f"{share:.0%} of sets answered {'-'.join(map(str, pattern)) or 'in no pattern'}",
    )


def outlier(met: Sequence[Meeting]) -> dict[str, Finding]:
    """Who agrees with the others clearly less than the others do among themselves, or turns whole sets
    round far more often than they do? The second finds somebody who poisons one topic and is honest on others.

    Two e-values, so that they may be looked at after every judgement and still be right: the wealth of
    somebody who bets, at fair odds, against the labeler (Waudby-Smith & Ramdas 2020, arXiv 2010.09686; a
    mixture of bets). If the labeler is no outlier, wealth ever passes w with chance 1/w at most (Ville), so
    the bar is 2 * (number of labelers) / 0.05. What is compared is after LMArena's search for anomalous voters
    (Chiang et al. 2024, arXiv 2403.04132): a person's votes against everybody else's on the same questions.
    Theirs is a p-value looked at a few times at random.
    """
    by_labeler = _agreement_by_set(met)
    everybody = _Sums.of(met, by_labeler)
    found = {}
    for labeler, sets in by_labeler.items():
        others = everybody.without(labeler)
        own = [agreed for agreed, _ in sets]
        turned = [agreed <= _TURNED for agreed, decided in sets if decided >= _MIN_TURNED_PAIRS]
        expected = max(others.agreement - _TOLERANCE, 0.5)
        often = max(_OFTEN * others.turned, _SELDOM)
        e_value = max(peak_wealth(own, expected=expected), peak_odds(turned, expected=often))
        size = float(np.mean(own))
        found[labeler] = Finding(
            flag=OUTLIER,
            is_raised=others.decided > 0 and e_value > 2 * len(by_labeler) / _FALSE_ALARMS,
            num_sets=len(own),
            size=size,
            strength=e_value,
            meaning=f"agrees with others on {size:.0%}, they among themselves on {others.agreement:.0%}; "
            f"turned {sum(turned)} of {len(turned)} sets round, they {others.turned:.0%}",
        )
    return found


def peak_wealth(agreements: Sequence[float], *, expected: float) -> float:
    """Highest wealth, from 1, of a mixture of bets that the agreements (0 to 1) are below `expected`."""
    gains = expected - np.asarray(agreements, dtype=np.float64)
    # A bet of share b risks b of the wealth when the labeler agrees fully: never all of it.
    bets = np.array(_BETS) / (1 - expected)
    return _peak(np.log1p(bets[:, None] * gains[None, :]))


def peak_odds(events: Sequence[bool], *, expected: float) -> float:
    """The same, of bets that events come more often than with chance `expected`."""
    happened = np.asarray(events, dtype=np.float64)
    chances = np.array([chance for chance in (0.2, 0.4, 0.6, 0.8) if chance > expected])
    gains, losses = np.log(chances / expected), np.log((1 - chances) / (1 - expected))
    return _peak(gains[:, None] * happened + losses[:, None] * (1 - happened))


def _peak(logs: Floats) -> float:
    """[bets, sets] logarithms of what each bet gains."""
    if not logs.size:
        return 1.0
    return max(1.0, float(np.exp(np.minimum(logs.cumsum(1), 700.0)).mean(0).max()))


@dataclass(frozen=True, kw_only=True)
class _Others:
    decided: float  # pairs
    agreement: float
    turned: float  # share of sets


class _Sums:
    """Over all meetings, so that one labeler's can be taken off."""

    def __init__(self) -> None:
        self._pairs: Counter[str] = Counter()  # "agreed", "decided" of all
        self._own: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._turned: Counter[str] = Counter()
        self._sets: Counter[str] = Counter()

    @classmethod
    def of(cls, met: Iterable[Meeting], by_labeler: Mapping[str, Sequence[_Set]]) -> _Sums:
        sums = cls()
        for m in met:
            for counter in (sums._pairs, *(sums._own[labeler] for labeler in m.labelers)):
                counter.update(agreed=m.agreed, decided=m.decided)
        for labeler, sets in by_labeler.items():
            large = [agreed for agreed, decided in sets if decided >= _MIN_TURNED_PAIRS]
            sums._sets[labeler] = len(large)
            sums._turned[labeler] = sum(agreed <= _TURNED for agreed in large)
        return sums

    def without(self, labeler: str) -> _Others:
        own = self._own[labeler]
        decided = self._pairs["decided"] - own["decided"]
        sets = self._sets.total() - self._sets[labeler]
        turned = self._turned.total() - self._turned[labeler]
        return _Others(
            decided=decided,
            agreement=(self._pairs["agreed"] - own["agreed"]) / decided if decided else 0.0,
            turned=turned / sets if sets else 0.0,
        )


def _agreement_by_set(met: Iterable[Meeting]) -> dict[str, list[_Set]]:
    """labeler -> for each set, in the order of time, agreement with others and on how many pairs. One figure
    a set: its pairs, and the others who judged it, belong together."""
    sums: dict[str, dict[object, list[float]]] = defaultdict(dict)
    for m in sorted(met, key=lambda m: m.created):
        for labeler in m.labelers:
            won = sums[labeler].setdefault(m.item, [0.0, 0.0])
            won[0] += m.agreed
            won[1] += m.decided
    shares = {
        labeler: [(agreed / decided, decided) for agreed, decided in sets.values() if decided]
        for labeler, sets in sums.items()
    }
    return {labeler: own for labeler, own in shares.items() if own}


def _uniform_p(counts: Sequence[Sequence[int]]) -> float:
    """p-value of counts that are uniform within each group; 1 for none."""
    if not counts:
        return 1.0
    statistic = sum(_chi_squared(group) for group in counts)
    if all(sum(group) / len(group) >= 5 for group in counts):
        return float(stats.chi2.sf(statistic, sum(len(group) - 1 for group in counts)))
    generator = np.random.default_rng(0)
    simulated = np.zeros(9_999)
    for group in counts:
        num, places = sum(group), len(group)
        draws = generator.multinomial(num, [1 / places] * places, size=len(simulated))
        simulated += ((draws - num / places) ** 2 / (num / places)).sum(1)
    return float((1 + (simulated >= statistic - 1e-9).sum()) / (1 + len(simulated)))


def _chi_squared(counts: Sequence[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)
