"""All figures on labelers and their judgements, for the operator and for each labeler; and the weights."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import redis

from feedback import keys
from feedback.history import History
from feedback.labeling import known_answers, labelers
from feedback.labeling.labelers import Labeler
from feedback.quality import agreement, conduct, trust
from feedback.quality.agreement import Agreement
from feedback.quality.conduct import Finding
from feedback.quality.intervals import Estimate, share
from feedback.quality.judged import Judged, Reader
from feedback.quality.trust import Known, Trust
from feedback.snapshots.files import write_json

_MAX_OTHERS = 100


@dataclass(frozen=True, kw_only=True)
class People:
    """Who labels, and what is known to be right, as the operator has it now."""

    labelers: Mapping[str, Labeler]
    known: Known


@dataclass(frozen=True, kw_only=True)
class Person:
    """One labeler's row."""

    name: str  # of a labeler's record; else the id
    trust: Trust
    accuracy: Estimate  # chance to decide a pair rightly: posterior mean, 95 % credible interval
    agreement: Estimate | None  # with others, on sets without a known answer
    known: Estimate | None  # share of known pairs decided rightly, interval over sets
    median_s: float | None  # for one set
    num_today: int  # judgements since midnight, UTC
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `hone label stats` and the console show. Sets with known answers are in nobody's agreement: they
    are chosen because people agree on them."""

    made: float  # unix seconds
    num_judgements: int
    num_sets: int
    num_shared: int  # sets that two or more ranked
    training: Agreement  # of those whose judgements train
    heldout: Agreement  # of held-out labelers
    by_task: Mapping[str, Agreement]
    by_week: Mapping[str, Agreement]
    judged_by_week: Mapping[str, int]
    positions: Mapping[
        int, Sequence[int]
    ]  # K -> how often the best answer was shown first, second, …
    people: tuple[Person, ...]  # labelers, and the least trusted of all others; least trusted first
    num_left_out: int  # others who are not in `people`

    def as_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        return cast("dict[str, Any]", _plain(asdict(self)))


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a labeler is shown of their own work: no one else's answers, and no weight to aim at."""

    num_judged: int
    num_today: int
    agreement: Estimate | None
    known: Estimate | None
    median_s: float | None


def read_people(client: redis.Redis) -> People:
    """Labelers and known answers from Redis."""
    records = cast("dict[bytes, bytes]", client.hgetall(keys.LABELERS))
    known = cast("dict[bytes, bytes]", client.hgetall(keys.KNOWN_ANSWERS))
    return People(
        labelers={id.decode(): labelers.load(data) for id, data in records.items()},
        known={id.decode(): known_answers.load(data).ranks for id, data in known.items()},
    )


def weights(client: redis.Redis, *, until: str = "+") -> dict[str, float]:
    """What each labeler's judgements weigh, 0 to 1, by the log up to an entry: a snapshot's bound."""
    people = read_people(client)
    rows = Reader(History(client)).rows(until=until)
    flags = conduct.raised(conduct.findings(rows, agreement.meetings(_unknown(rows, people))))
    return trust.weights(rows, known=people.known, labelers=people.labelers, flags=flags)


def frozen_weights(client: redis.Redis, folder: Path) -> dict[str, float]:
    """The weights of the snapshot in a folder: worked out once, so that one that was interrupted and is made
    again weighs everybody as it did."""
    path = folder / "weights.json"
    if not path.exists():
        write_json(path, weights(client))
    return cast("dict[str, float]", orjson.loads(path.read_bytes()))


def report(rows: Sequence[Judged], people: People, *, now: float | None = None) -> Report:
    """Every figure, from what was said."""
    now = time.time() if now is None else now
    unknown = _unknown(rows, people)
    met = agreement.meetings(unknown)
    findings = conduct.findings(rows, met)
    assessed = trust.assess(
        rows, known=people.known, labelers=people.labelers, flags=conduct.raised(findings)
    )
    heldout = [row for row in unknown if _is_heldout(row, assessed)]
    training = [row for row in unknown if _trains(row, assessed)]
    items = agreement.by_item(row for row in rows if row.ranks)
    shown = _shown(assessed.values())
    said: dict[str, list[Judged]] = {found.labeler: [] for found in shown}
    for row in rows:
        if row.labeler in said:
            said[row.labeler].append(row)
    agreed = agreement.by_labeler(met, of=said)
    persons = [
        _person(
            found,
            said[found.labeler],
            people,
            agreed=agreed.get(found.labeler),
            findings=findings.get(found.labeler, {}),
            now=now,
        )
        for found in shown
    ]
    return Report(
        made=now,
        num_judgements=len(rows),
        num_sets=len(items),
        num_shared=sum(len({row.labeler for row in judged}) > 1 for judged in items.values()),
        training=agreement.measure(training),
        heldout=agreement.measure(heldout),
        by_task=agreement.by_task(training),
        by_week=agreement.by_week(training),
        judged_by_week=dict(sorted(Counter(agreement.week_of(r.created) for r in rows).items())),
        positions=dict(sorted(conduct.position_counts(rows).items())),
        people=tuple(persons),
        num_left_out=len(assessed) - len(shown),
    )


def own(rows: Iterable[Judged], labeler: str, people: People, *, now: float | None = None) -> Own:
    """A labeler's own statistics, for their page."""
    now = time.time() if now is None else now
    rows = list(rows)
    mine = [row for row in rows if row.labeler == labeler]
    shared = {row.item for row in mine if row.ranks and row.item[0][0] not in people.known}
    met = agreement.meetings(row for row in rows if row.item in shared)
    return Own(
        num_judged=len(mine),
        num_today=_num_today(mine, now),
        agreement=_some(agreement.by_labeler(met, of=[labeler]).get(labeler)),
        known=known_share(mine, people.known),
        median_s=_median_s(mine),
    )


def known_share(rows: Iterable[Judged], known: Known) -> Estimate | None:
    """Share of known pairs decided rightly; None before the first."""
    right, pairs = [], []
    for row in rows:
        if row.ranks and (ranks := known.get(row.item[0][0])):
            given = {ref[1]: rank for ref, rank in zip(row.item, row.ranks, strict=True)}
            agreed, num = known_answers.agreement(ranks, given)
            right.append(agreed)
            pairs.append(float(num))
    return _some(share(right, pairs))


def _shown(assessed: Iterable[Trust]) -> list[Trust]:
    """Everybody with a record, and as many others as a page holds."""
    found = sorted(assessed, key=lambda trust: (trust.weight, trust.labeler))
    others = [trust for trust in found if trust.source != "labeler"][:_MAX_OTHERS]
    kept = {trust.labeler for trust in others}
    return [trust for trust in found if trust.source == "labeler" or trust.labeler in kept]


def _person(
    found: Trust,
    rows: Sequence[Judged],
    people: People,
    *,
    agreed: Estimate | None,
    findings: Mapping[str, Finding],
    now: float,
) -> Person:
    record = people.labelers.get(found.labeler)
    return Person(
        name=record.name if record is not None else found.labeler,
        trust=found,
        accuracy=found.tally.estimate(),
        agreement=_some(agreed),
        known=known_share(rows, people.known),
        median_s=_median_s(rows),
        num_today=_num_today(rows, now),
        findings=tuple(findings.values()),
    )


def _unknown(rows: Iterable[Judged], people: People) -> list[Judged]:
    return [row for row in rows if not people.known.keys() & {id for id, _ in row.item}]


def _is_heldout(row: Judged, assessed: Mapping[str, Trust]) -> bool:
    return row.labeler in assessed and assessed[row.labeler].is_heldout


def _trains(row: Judged, assessed: Mapping[str, Trust]) -> bool:
    found = assessed.get(row.labeler)
    if found is None:
        return row.source != "labeler"  # rated single answers only
    return not found.is_heldout and (found.source != "labeler" or found.status == "active")


def _num_today(rows: Iterable[Judged], now: float) -> int:
    midnight = now // 86_400 * 86_400
    return sum(row.created >= midnight for row in rows)


def _median_s(rows: Iterable[Judged]) -> float | None:
    durations = [row.duration_ms / 1000 for row in rows if row.duration_ms]
    return statistics.median(durations) if durations else None


def _some(estimate: Estimate | None) -> Estimate | None:
    return estimate if estimate is not None and estimate.num_units else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
