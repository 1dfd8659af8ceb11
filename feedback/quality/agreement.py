"""How far labelers agree with one another.

*Pairwise agreement* is what InstructGPT reports (72.6 ± 1.5 %): of the pairs of answers on which two labelers
both name a winner, the share with the same winner. Ties are handled as MT-Bench does (Zheng et al. 2023,
arXiv 2306.05685, section 4.1): left out in the first figure (chance is 1/2; the reward model drops them
too), a third outcome in the second (`with_ties`).

*Krippendorff's alpha* takes chance off: 1 is full agreement, 0 what chance gives. Nominal over the winners of
pairs (better, worse, tie), ordinal over Likert ratings. By evalica.

Intervals are bootstraps over candidate sets: pairs of one set, and labelers on one set, belong together.
(evalica's own bootstrap draws single pairs of values as if they were independent: too narrow for K-wise sets.)
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import evalica
import numpy as np
import pandas as pd

from feedback.quality.intervals import Estimate, Floats, bounds, resampled_sums, share
from feedback.quality.judged import Judged, Ref

_WEEK_S = 7 * 86_400
_MONDAY_S = 4 * 86_400  # unix time began on a Thursday
_MIN_RESAMPLED = (
    5  # drawing from fewer sets says nothing about others: alpha's interval is all there is
)

Unit = tuple[Ref, ...]  # what alpha compares values of: two answers, or one


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Two labelers on one candidate set."""

    item: tuple[Ref, ...]
    labelers: tuple[str, str]
    created: float  # unix seconds, of the later one
    agreed: int  # pairs of answers with the same winner
    decided: int  # pairs where both name a winner
    same: int  # pairs with the same outcome, a tie being one
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of a group of judgements; `num_units` of the estimates are candidate sets."""

    decided: Estimate
    with_ties: Estimate
    winners_alpha: Estimate | None
    likert_alpha: Estimate | None
    num_labelers: int  # who met another


def measure(rows: Sequence[Judged]) -> Agreement:
    """All that is measured of agreement."""
    met = meetings(rows)
    return Agreement(
        decided=decided_share(met),
        with_ties=_share(met, lambda m: (m.same, m.pairs)),
        winners_alpha=winners_alpha(rows),
        likert_alpha=likert_alpha(rows),
        num_labelers=len({labeler for m in met for labeler in m.labelers}),
    )


def meetings(rows: Iterable[Judged]) -> list[Meeting]:
    """Every two labelers who ranked the same set."""
    ranked = by_item(row for row in rows if row.ranks)
    return [_meeting(a, b) for met in ranked.values() for a, b in combinations(met, 2)]


def decided_share(met: Iterable[Meeting]) -> Estimate:
    """Of the pairs on which two name a winner, the share with the same one."""
    return _share(met, lambda m: (m.agreed, m.decided))


def by_labeler(met: Iterable[Meeting], *, of: Container[str]) -> dict[str, Estimate]:
    """The share of each of these labelers with all others."""
    groups: defaultdict[str, list[Meeting]] = defaultdict(list)
    for m in met:
        for labeler in m.labelers:
            if labeler in of:
                groups[labeler].append(m)
    return {labeler: decided_share(group) for labeler, group in sorted(groups.items())}


def by_task(rows: Iterable[Judged]) -> dict[str, Agreement]:
    """Of sets whose task is known."""
    known = (row for row in rows if row.task is not None)
    return _grouped(known, lambda judged: str(judged[0].task))


def by_week(rows: Iterable[Judged]) -> dict[str, Agreement]:
    """Keys are the Mondays (UTC) on which weeks begin, as YYYY-MM-DD; a set is in its last judgement's."""
    return _grouped(rows, lambda judged: week_of(max(row.created for row in judged)))


def by_item(rows: Iterable[Judged]) -> dict[tuple[Ref, ...], list[Judged]]:
    """Judgements of the same answers."""
    items: defaultdict[tuple[Ref, ...], list[Judged]] = defaultdict(list)
    for row in rows:
        items[row.item].append(row)
    return dict(items)


def week_of(created: float) -> str:
    """The Monday, UTC, of a time in unix seconds."""
    monday = (created - _MONDAY_S) // _WEEK_S * _WEEK_S + _MONDAY_S
    return time.strftime("%Y-%m-%d", time.gmtime(monday))


def winners_alpha(rows: Iterable[Judged]) -> Estimate | None:
    """Nominal alpha of the winners of pairs. None: nothing was ranked twice."""
    values: defaultdict[Unit, dict[str, int]] = defaultdict(dict)
    sets: dict[Unit, object] = {}
    for row in rows:
        for i, j in combinations(range(len(row.ranks)), 2):
            unit = (row.item[i], row.item[j])
            values[unit][row.labeler] = row.winner(i, j)
            sets[unit] = row.item
    return alpha(values, sets=sets, level="nominal")


def likert_alpha(rows: Iterable[Judged]) -> Estimate | None:
    """Ordinal alpha of the Likert ratings of single answers. None: nothing was rated twice."""
    values: defaultdict[Unit, dict[str, int]] = defaultdict(dict)
    for row in rows:
        for position, likert in row.likert.items():
            values[(row.item[position],)][row.labeler] = likert
    # Answers of one completion were read together.
    return alpha(values, sets={unit: unit[0][0] for unit in values}, level="ordinal")


def alpha(
    values: Mapping[Unit, Mapping[str, int]],
    *,
    sets: Mapping[Unit, object],
    level: Literal["nominal", "ordinal"],
) -> Estimate | None:
    """Krippendorff's alpha of unit -> labeler -> value; `sets` says which units belong together.

    None where nothing was valued twice, or all values are one: nothing to be reliable about.
    """
    shared = {unit: dict(given) for unit, given in values.items() if len(given) >= 2}
    levels = sorted({value for given in shared.values() for value in given.values()})
    if len(levels) < 2:
        return None
    coincidences: dict[object, Floats] = defaultdict(lambda: np.zeros((len(levels), len(levels))))
    for unit, given in shared.items():
        coincidences[sets[unit]] += _coincidences([levels.index(v) for v in given.values()], levels)
    drawn = resampled_sums(np.stack([c.ravel() for c in coincidences.values()]))
    low, high = bounds(_alphas(drawn.reshape(-1, len(levels), len(levels)), level=level))
    if len(coincidences) < _MIN_RESAMPLED:
        low, high = -1.0, 1.0
    value = float(evalica.alpha(_table(shared), distance=level).alpha)
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), num_units=len(coincidences)
    )


def _meeting(a: Judged, b: Judged) -> Meeting:
    outcomes: Counter[str] = Counter()
    for i, j in combinations(range(len(a.ranks)), 2):
        one, other = a.winner(i, j), b.winner(i, j)
        outcomes["same"] += one == other
        outcomes["decided"] += bool(one and other)
        outcomes["agreed"] += bool(one) and one == other
    return Meeting(
        item=a.item,
        labelers=(a.labeler, b.labeler),
        created=max(a.created, b.created),
        agreed=outcomes["agreed"],
        decided=outcomes["decided"],
        same=outcomes["same"],
        pairs=len(a.ranks) * (len(a.ranks) - 1) // 2,
    )


def _share(met: Iterable[Meeting], count: Callable[[Meeting], tuple[int, int]]) -> Estimate:
    """Over all meetings; those on one set are one unit."""
    sums: defaultdict[tuple[Ref, ...], list[int]] = defaultdict(lambda: [0, 0])
    for m in met:
        for place, value in enumerate(count(m)):
            sums[m.item][place] += value
    return share([won for won, _ in sums.values()], [total for _, total in sums.values()])


def _grouped(rows: Iterable[Judged], key: Callable[[list[Judged]], str]) -> dict[str, Agreement]:
    groups: defaultdict[str, list[Judged]] = defaultdict(list)
    for judged in by_item(rows).values():
        groups[key(judged)] += judged
    return {name: measure(group) for name, group in sorted(groups.items())}


def _coincidences(values: Sequence[int], levels: Sequence[int]) -> Floats:
    """Krippendorff's coincidence matrix of one unit: each ordered pair of its m values counts 1/(m - 1)."""
    counts = np.bincount(values, minlength=len(levels)).astype(np.float64)
    both: Floats = (np.outer(counts, counts) - np.diag(counts)) / (len(values) - 1)
    return both


def _alphas(coincidences_RLL: Floats, *, level: str) -> Floats:
    """Alpha of each coincidence matrix [R, L, L]; NaN where all values are one."""
    counts_RL = coincidences_RLL.sum(2)
    num_levels = counts_RL.shape[1]
    if level == "nominal":
        distances_RLL = np.broadcast_to(1.0 - np.eye(num_levels), coincidences_RLL.shape)
    else:  # the squared number of values between two levels, half of each end
        below_RL = counts_RL.cumsum(1) - counts_RL / 2
        distances_RLL = (below_RL[:, :, None] - below_RL[:, None, :]) ** 2
    observed_R = (coincidences_RLL * distances_RLL).sum((1, 2))
    expected_R = (counts_RL[:, :, None] * counts_RL[:, None, :] * distances_RLL).sum((1, 2))
    total_R = counts_RL.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        alphas: Floats = 1 - (total_R - 1) * observed_R / expected_R
    return np.where(expected_R > 0, alphas, np.nan)


def _table(values: Mapping[Unit, Mapping[str, int]]) -> pd.DataFrame:
    """Labelers as rows, units as columns, as evalica takes it."""
    labelers = {
        name: row for row, name in enumerate(sorted({n for v in values.values() for n in v}))
    }
    table = np.full((len(labelers), len(values)), np.nan)
    for column, given in enumerate(values.values()):
        for labeler, value in given.items():
            table[labelers[labeler], column] = value
    return pd.DataFrame(table)
