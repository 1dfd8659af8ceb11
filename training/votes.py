"""What people said of the very weights that the gate judges, beside what the incumbent answered.

They can have said something only where these weights have served: as a version of an earlier round that made the
same, or as one that an operator took against the gate's word. Labelers count once they have passed their screening,
the held-out ones too; a person counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from feedback.events import Completion, Feedback
from feedback.history import History
from feedback.quality.intervals import Estimate, share
from serving.canary.count import speaks, won
from serving.canary.people import person
from serving.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A judgement of answers of both."""

    judgement: str
    person: str  # a hash, which names nobody
    share: float  # of its pairs that the candidate has won


def read(client: redis.Redis, history: History, *, digest: str, incumbent: str) -> list[Vote]:
    """Every judgement that stands. `digest`: of the candidate's weights; `incumbent`: a version."""
    records = Registry(client).policies()
    served = [record for record in records.values() if record.digest == digest]
    if not served or incumbent not in records:
        return []
    since = min(int(record.created * 1000) for record in served)
    standing: dict[str, Vote] = {}
    for said in _judgements(history, after=f"{since}-0"):
        for taken_back in (said.replaces, said.body.get("of")):
            standing.pop(taken_back or "", None)
        if said.form not in ("ranking", "comparison") or not speaks(client, said):
            continue
        answers = (history.get(Completion.kind, name) for name in said.completion_ids)
        by = {a.id: a.digest for a in cast("Iterator[Completion]", answers) if a and not a.is_mixed}
        score = won(said, by, ours=digest, theirs=records[incumbent].digest)
        if score is not None:
            standing[said.id] = Vote(judgement=said.id, person=_voter(said), share=score)
    return list(standing.values())


def win_rate(votes: Sequence[Vote]) -> Estimate | None:
    """The mean person's; None: nobody has compared them."""
    by_person: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        by_person[vote.person].append(vote.share)
    means = [sum(each) / len(each) for each in by_person.values()]
    return share(means, [1.0] * len(means)) if means else None


def _judgements(history: History, *, after: str) -> Iterator[Feedback]:
    for _, event in history.read(Feedback.kind, after=after):
        yield cast(Feedback, event)


def _voter(said: Feedback) -> str:
    named = f"{said.source}:{said.labeler}"
    return person(tenant=said.tenant, key_id=said.key_id, end_user=named, request={})
