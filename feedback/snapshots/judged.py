"""The first pass: judgements, as the reward model and SFT need them.

What somebody took back, and what they said instead, is seen only at the end of the log; so all are staged
and `filters` decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import orjson

from feedback.events import Feedback
from feedback.ranks import ranks_of
from feedback.snapshots.people import People
from feedback.snapshots.staging import Staging

RANKINGS = "rankings"
DEMONSTRATIONS = "demonstrations"

_MASK = (1 << 24) - 1


class Mentioned:
    """Which completions were judged, in 16 MiB. It may say yes of one that was not: one in a hundred when a
    million were. What is staged too much is never looked up."""

    def __init__(self) -> None:
        self._bits = bytearray(_MASK + 1)

    def add(self, completion_id: str) -> None:
        number = hash(completion_id)
        self._bits[number >> 3 & _MASK] |= 1 << (number & 7)

    def __contains__(self, completion_id: str) -> bool:
        number = hash(completion_id)
        return bool(self._bits[number >> 3 & _MASK] >> (number & 7) & 1)


class Judged:
    """Takes every feedback event in order."""

    def __init__(self, staging: Staging, people: People) -> None:
        self._staging = staging
        self._people = people
        self.mentioned = Mentioned()
        self.forms: Counter[str] = Counter()
        self._num_read = 0

    def take(self, event: Feedback) -> None:
        self._num_read += 1
        self.forms[event.form] += 1
        if event.replaces is not None:
            self._take_back(event, event.replaces, "replaced")
        if event.form == "retraction":
            self._take_back(event, event.body["of"], "retracted")
        elif event.form in ("ranking", "comparison"):
            refs, ranks = ranks_of(event)
            row: dict[str, Any] = {"id": event.id, "labeler": event.labeler}
            row |= {"refs": refs, "ranks": ranks}
            row["all_bad"] = bool(event.body.get("all_bad") or event.body.get("both_bad"))
            self._stage(event, RANKINGS, row, about=hash(tuple(sorted(refs))), completions=refs)
        elif event.form == "demonstration":
            parent = event.completion_ids[0] if event.completion_ids else None
            row = {
                "id": event.id,
                "labeler": event.labeler,
                "tenant": event.tenant,
                "parent": parent,
            }
            row |= {"messages": event.body.get("messages"), "text": event.body["completion"]}
            about = hash((parent, orjson.dumps(row["messages"]), row["text"]))
            refs = [(parent, 0)] if parent is not None else []
            self._stage(event, DEMONSTRATIONS, row, about=about, completions=refs)

    def _stage(
        self,
        event: Feedback,
        part: str,
        row: dict[str, Any],
        *,
        about: int,
        completions: Iterable[tuple[str, int]],
    ) -> None:
        weight, is_heldout = self._people.weight(event), self._people.is_heldout(event)
        reason = None
        for completion_id, _ in completions:
            self.mentioned.add(completion_id)
            if part == RANKINGS and completion_id in self._people.known_answers:
                reason = "known_answer"
        if weight <= 0:
            reason = reason or "labeler_weighs_nothing"
        row |= {"weight": weight, "source": event.source}
        judge = hash((event.tenant, event.labeler))
        who = (hash(event.id), judge, event.labeler)
        fields = (self._num_read, part, *who, about, draw_of(event.id))
        data = orjson.dumps(row)
        self._staging.add("judgements", (*fields, weight, int(is_heldout), data, reason))

    def _take_back(self, event: Feedback, judgement_id: str, why: str) -> None:
        judge = hash((event.tenant, event.labeler))  # nobody takes back what another one said
        self._staging.add("taken_back", (hash(judgement_id), judge, why))


def draw_of(text: str) -> int:
    """A number by which some of many are chosen: even, and the same in every snapshot."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)
