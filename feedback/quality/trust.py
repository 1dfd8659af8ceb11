"""How much a labeler's word weighs in training, from 0 to 1.

One estimate from both kinds of evidence: the labeler's accuracy, the chance that a pair is decided the right
way, as the posterior of a one-coin Dawid-Skene model (Dawid & Skene 1979; Raykar et al. 2010 for the prior).

- A *known answer* is a pair whose truth is given.
- On other sets that several judged, a pair's truth is a hidden value, found together with everybody's
  accuracy by expectation and maximisation: whoever contradicts those who are otherwise right is found wrong.
- Ties say nothing there; a tie where one answer is known to be better counts half, as in screening.
- The K(K-1)/2 pairs of a set follow from its K-1 neighbours in the order, so they count as K-1.

The weight is (accuracy - 1/2) / (reference - 1/2), cut at 0 and 1: who guesses, or says the opposite, weighs
nothing, and who does as well as the paper's labelers weighs 1. The accuracy here is the lower of those that
known answers and other sets show by themselves: somebody who poisons a topic is honest where it is checked.
The reference is also where the prior's mean is, so:

- a person behind an API key (source `key`, `end_user`) whom nobody has checked weighs 1, until sets that
  others judge too say otherwise. Only the cap on one person's share holds them back;
- a labeler who is not `active` (not screened, failed, blocked) weighs 0, whatever they said;
- findings on conduct (feedback.quality.conduct) take away: an outlier all, every other one half.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import stats

from feedback.labeling.known_answers import agreement as known_agreement
from feedback.quality.intervals import Estimate, Floats
from feedback.quality.judged import Judged, Ref

if TYPE_CHECKING:
    from feedback.labeling.labelers import Labeler

Known = Mapping[str, Mapping[int, int]]  # completion id -> index of a choice -> its right rank

# InstructGPT's labelers agree on 72.6 % of pairs. Two who are right with chance p agree on p^2 + (1-p)^2.
REFERENCE_ACCURACY = (1 + math.sqrt(2 * 0.726 - 1)) / 2  # 0.836
PRIOR_STRENGTH = 8.0  # comparisons that the prior counts for: two or three sets of four
OUTLIER = "outlier"

_FLAG_FACTOR = 0.5
_MAX_STEPS = 200
_SURE = 0.99  # nobody is taken to be right more often: two such would outvote any number of others


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Evidence on one labeler in comparisons; `right` may be in parts."""

    right: float
    total: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(right=self.right + other.right, total=self.total + other.total)

    @property
    def accuracy(self) -> float:
        """Posterior mean."""
        return (PRIOR_STRENGTH * REFERENCE_ACCURACY + self.right) / (PRIOR_STRENGTH + self.total)

    def estimate(self) -> Estimate:
        """Posterior mean with its 95 % credible interval."""
        a = PRIOR_STRENGTH * REFERENCE_ACCURACY + self.right
        b = PRIOR_STRENGTH + self.total - a
        low, high = stats.beta.ppf([0.025, 0.975], a, b)
        return Estimate(
            value=self.accuracy, low=float(low), high=float(high), num_units=round(self.total)
        )


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What is known of one labeler, and what it comes to."""

    labeler: str
    source: str  # labeler | key | end_user
    status: str  # of a labeler's record; "" for who has none
    is_heldout: bool
    num_judged: int
    known: Tally  # on known answers
    shared: Tally  # on sets that others judged too
    flags: tuple[str, ...]
    weight: float  # 0 to 1

    @property
    def tally(self) -> Tally:
        """All evidence."""
        return self.known + self.shared


def weights(
    rows: Sequence[Judged],
    *,
    known: Known,
    labelers: Mapping[str, Labeler],
    flags: Mapping[str, Collection[str]],
) -> dict[str, float]:
    """What each labeler's judgements weigh, 0 to 1. Who is not in it has said nothing."""
    found = assess(rows, known=known, labelers=labelers, flags=flags)
    return {labeler: trust.weight for labeler, trust in found.items()}


def assess(
    rows: Sequence[Judged],
    *,
    known: Known,
    labelers: Mapping[str, Labeler],
    flags: Mapping[str, Collection[str]],
) -> dict[str, Trust]:
    """Every labeler who ranked something. Held-out ones are measured on known answers only: what they
    say about other sets must not reach a model, by way of the weights neither."""
    ranked = [row for row in rows if row.ranks and not _is_impostor(row, labelers)]
    on_known = known_tallies(ranked, known=known)
    trained = [
        row
        for row in ranked
        if not _known_id(row, known) and not _record(row, labelers, "is_heldout", default=False)
    ]
    on_shared = one_coin(trained, start=on_known)
    counts: defaultdict[str, list[Judged]] = defaultdict(list)
    for row in ranked:
        counts[row.labeler].append(row)
    nothing = Tally(right=0, total=0)
    assessed = {}
    for labeler, own in counts.items():
        status = str(_record(own[0], labelers, "status", default=""))
        checked, shared = on_known.get(labeler, nothing), on_shared.get(labeler, nothing)
        noted = tuple(sorted(flags.get(labeler, ())))
        has_say = own[0].source != "labeler" or status == "active"
        assessed[labeler] = Trust(
            labeler=labeler,
            source=own[0].source,
            status=status,
            is_heldout=bool(_record(own[0], labelers, "is_heldout", default=False)),
            num_judged=len(own),
            known=checked,
            shared=shared,
            flags=noted,
            weight=weight(min(checked.accuracy, shared.accuracy), flags=noted) if has_say else 0.0,
        )
    return assessed


def weight(accuracy: float, *, flags: Collection[str] = ()) -> float:
    """What an accuracy weighs, 0 to 1, after what conduct takes away."""
    if OUTLIER in flags:
        return 0.0
    share = (accuracy - 0.5) / (REFERENCE_ACCURACY - 0.5)
    return min(1.0, max(0.0, share)) * _FLAG_FACTOR ** len(flags)


def known_tallies(rows: Iterable[Judged], *, known: Known) -> dict[str, Tally]:
    """Each labeler's judgements on sets whose right order is known."""
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        completion_id = _known_id(row, known)
        if completion_id is None:
            continue
        given = {ref[1]: rank for ref, rank in zip(row.item, row.ranks, strict=True)}
        agreed, pairs = known_agreement(known[completion_id], given)
        comparisons = _comparisons(len(given))
        sums[row.labeler][0] += agreed * comparisons
        sums[row.labeler][1] += pairs * comparisons
    return {labeler: Tally(right=right, total=total) for labeler, (right, total) in sums.items()}


def one_coin(rows: Iterable[Judged], *, start: Mapping[str, Tally]) -> dict[str, Tally]:
    """How often each was right on the pairs that two or more decided, by Dawid-Skene with one accuracy a
    labeler.

    `start` is what known answers say of them: it counts for their accuracy, and is not in what is returned.
    """
    votes = _votes(rows)
    names = sorted({name for name, _, _, _ in votes})
    number = {name: place for place, name in enumerate(names)}
    nothing = Tally(right=0, total=0)
    right_L = np.array([start.get(name, nothing).right for name in names])
    total_L = np.array([start.get(name, nothing).total for name in names])
    if not votes:
        return {}
    labelers_V = np.array([number[name] for name, _, _, _ in votes])
    pairs_V = np.array([pair for _, pair, _, _ in votes])
    signs_V = np.array([sign for _, _, sign, _ in votes], dtype=np.float64)
    counts_V = np.array([count for _, _, _, count in votes])
    shared_L = np.bincount(labelers_V, counts_V, minlength=len(names))
    hits_L = _maximise(
        labelers_V, pairs_V, signs_V, counts_V, right_L=right_L, total_L=total_L + shared_L
    )
    return {
        name: Tally(right=float(hits_L[place]), total=float(shared_L[place]))
        for name, place in number.items()
    }


def _maximise(
    labelers_V: npt.NDArray[np.int64],
    pairs_V: npt.NDArray[np.int64],
    signs_V: Floats,
    counts_V: Floats,
    *,
    right_L: Floats,
    total_L: Floats,
) -> Floats:
    """How often each labeler was right on these pairs, once it changes no more. V: votes, L: labelers."""
    accuracy_L = np.full(len(total_L), REFERENCE_ACCURACY)
    prior = PRIOR_STRENGTH * REFERENCE_ACCURACY
    hits_L = np.zeros(len(total_L))
    for _ in range(_MAX_STEPS):
        sure_L = np.clip(accuracy_L, 1 - _SURE, _SURE)
        says_V = signs_V * np.log(sure_L / (1 - sure_L))[labelers_V]
        first_wins_P = 1 / (1 + np.exp(-np.bincount(pairs_V, says_V)))
        is_right_V = np.where(signs_V > 0, first_wins_P[pairs_V], 1 - first_wins_P[pairs_V])
        hits_V = counts_V * is_right_V
        hits_L = np.bincount(labelers_V, hits_V, minlength=len(total_L)).astype(np.float64)
        before_L = accuracy_L
        accuracy_L = (prior + right_L + hits_L) / (PRIOR_STRENGTH + total_L)
        if np.abs(accuracy_L - before_L).max() < 1e-6:
            break
    return hits_L


def _votes(rows: Iterable[Judged]) -> list[tuple[str, int, int, float]]:
    """(labeler, number of a pair, 1 or -1, what it counts), of pairs that two or more decided."""
    by_pair: defaultdict[tuple[Ref, Ref], list[tuple[str, int, float]]] = defaultdict(list)
    for row in rows:
        for i, j in combinations(range(len(row.ranks)), 2):
            if sign := row.winner(i, j):
                vote = (row.labeler, sign, _comparisons(len(row.ranks)))
                by_pair[row.item[i], row.item[j]].append(vote)
    shared = [given for given in by_pair.values() if len({name for name, _, _ in given}) >= 2]
    return [(name, n, sign, count) for n, given in enumerate(shared) for name, sign, count in given]


def _comparisons(num_ranked: int) -> float:
    """What one of K(K-1)/2 pairs counts, so that a set counts K-1."""
    return 2 / num_ranked


def _known_id(row: Judged, known: Known) -> str | None:
    ids = {completion_id for completion_id, _ in row.item}
    return next(iter(ids)) if len(ids) == 1 and ids <= known.keys() else None


def _record(row: Judged, labelers: Mapping[str, Labeler], name: str, *, default: object) -> object:
    record = labelers.get(row.labeler) if row.source == "labeler" else None
    return default if record is None else getattr(record, name)


def _is_impostor(row: Judged, labelers: Mapping[str, Labeler]) -> bool:
    """A key that names a person as a labeler is named: it must not speak for them, or against them."""
    return row.source != "labeler" and row.labeler in labelers
