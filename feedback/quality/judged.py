"""A judgement as the quality measures see it: who, on what, in which order, how fast.

The last word of a person on a set counts. What was taken back or replaced is out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import ascii_lowercase
from typing import Any, cast

from feedback.events import Completion, Feedback
from feedback.history import History
from feedback.ranks import ranks_of

Ref = tuple[str, int]  # completion id, index of the choice
_Key = tuple[str, str, tuple[Ref, ...], bool]  # source, labeler, set, was it ranked

_FORMS = ("ranking", "comparison", "rating")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One judgement. `ranks` and `shown` speak of `item` by position."""

    id: str  # fbk_…
    labeler: str
    source: str  # labeler | key | end_user, as in feedback.events.Feedback
    form: str = "ranking"  # ranking | comparison | rating
    item: tuple[Ref, ...]  # the candidate set, sorted: one item in whatever order it was shown
    ranks: tuple[int, ...] = ()  # 1 is best, equal ranks are ties; empty: nothing was ranked
    likert: Mapping[int, int] = field(default_factory=dict)  # position -> 1 to 7
    flags: Mapping[int, frozenset[str]] = field(default_factory=dict)  # position -> what was noted
    shown: tuple[int, ...] = ()  # positions in the order on the screen; empty: not known
    task: str | None = None  # `metadata.task` of the request, else the form; None: not looked up
    created: float = 0.0  # unix seconds
    duration_ms: int | None = None
    num_words: int = 0  # of prompt and answers; 0: not known

    def winner(self, i: int, j: int) -> int:
        """1: position i is better than j, -1: worse, 0: a tie."""
        return (self.ranks[j] > self.ranks[i]) - (self.ranks[j] < self.ranks[i])


class Reader:
    """Reads the log on from where it last stopped, so that looking again costs what is new.

    Holds what `LastWords` holds, about 1.5 KB each; the newest `max_known` completions of it are looked up
    for their words and their task, one read of the log each.
    """

    def __init__(self, history: History, *, max_known: int = 2_000) -> None:
        self._history = history
        self._words = LastWords()
        self._max_known = max_known
        self._facts: dict[str, Facts] = {}
        self._position = "-"

    def rows(self, *, until: str = "+") -> list[Judged]:
        """Every judgement that counts, in the order in which they came."""
        for position, event in self._history.read(Feedback.kind, after=self._position, until=until):
            self._words.add(cast(Feedback, event))
            self._position = position
        rows = self._words.rows()
        newest = {ref[0]: None for row in reversed(rows) for ref in row.item}
        known = list(newest)[: self._max_known]
        self._facts = {id: self._facts.get(id) or _facts(self._history, id) for id in known}
        return [_with_facts(row, self._facts) for row in rows]


class LastWords:
    """What each person said last on each set: of a labeler the newest `max_each`, so that nobody's record
    is forgotten while others work; of all who are no labelers the newest `max_others` together."""

    def __init__(self, *, max_each: int = 2_000, max_others: int = 100_000) -> None:
        self._latest: dict[_Key, Judged] = {}
        self._key_of: dict[str, _Key] = {}
        self._of_whom: defaultdict[str, dict[_Key, None]] = defaultdict(dict)  # oldest first
        self._max_each = max_each
        self._max_others = max_others

    def add(self, event: Feedback) -> None:
        """The next event of the log. One that is retracted or replaced came before."""
        if event.form == "retraction":
            self._remove(str(event.body["of"]))
            return
        if event.replaces is not None:
            self._remove(event.replaces)
        if event.form not in _FORMS:
            return
        row = judged_of(event)
        # A rating of one card beside a ranking of the set are two things said.
        key = (row.source, row.labeler, row.item, bool(row.ranks))
        if key in self._latest:
            self._remove(self._latest[key].id)
        self._latest[key] = row
        self._key_of[row.id] = key
        held = self._of_whom[_whom(row)]
        held[key] = None
        if len(held) > (self._max_each if row.source == "labeler" else self._max_others):
            self._remove(self._latest[next(iter(held))].id)

    def rows(self) -> list[Judged]:
        """In the order in which they came."""
        return list(self._latest.values())

    def _remove(self, feedback_id: str) -> None:
        key = self._key_of.pop(feedback_id, None)
        if key is not None:
            del self._of_whom[_whom(self._latest.pop(key))][key]


def _whom(row: Judged) -> str:
    return row.labeler if row.source == "labeler" else ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of a completion: what a labeler reads of it, in words, and what its request says it is for."""

    num_words: int = 0  # of the prompt
    answers: Mapping[int, int] = field(default_factory=dict)  # index -> words; empty: erased
    task: str | None = None


def judged_of(event: Feedback) -> Judged:
    """A ranking, comparison or rating as a row."""
    body = event.body
    refs, ranks = _one(body) if event.form == "rating" else ranks_of(event)
    order = sorted(range(len(refs)), key=lambda position: refs[position])
    place = {position: number for number, position in enumerate(order)}
    ratings = {ascii_lowercase.index(k): v for k, v in (body.get("ratings") or {}).items()}
    if event.form == "rating":
        ratings = {0: body}
    shown = [ascii_lowercase.index(letter) for letter in body.get("shown_order") or ()]
    return Judged(
        id=event.id,
        labeler=event.labeler,
        source=event.source,
        item=tuple(refs[position] for position in order),
        ranks=tuple(ranks[position] for position in order) if ranks else (),
        likert={place[p]: r["likert"] for p, r in ratings.items() if r.get("likert") is not None},
        flags={place[p]: _noted(r.get("flags") or {}) for p, r in ratings.items()},
        shown=tuple(place[position] for position in shown),
        form=event.form,
        created=event.created,
        duration_ms=body.get("duration_ms"),
    )


def _one(body: Mapping[str, Any]) -> tuple[list[Ref], list[int]]:
    return [(body["completion_id"], body["index"])], []


def _noted(flags: Mapping[str, bool]) -> frozenset[str]:
    return frozenset(name for name, is_set in flags.items() if is_set)


def _facts(history: History, completion_id: str) -> Facts:
    event = history.get(Completion.kind, completion_id)
    if not isinstance(event, Completion):
        return Facts()  # erased
    asked = event.request.get("messages") or event.request.get("prompt") or ""
    texts = [asked] if isinstance(asked, str) else [m.get("content") for m in asked]
    return Facts(
        num_words=sum(map(_num_words, texts)),
        answers={choice.index: _num_words(choice.text) for choice in event.choices},
        task=event.metadata.get("task"),
    )


def _num_words(text: object) -> int:
    if isinstance(text, str):
        return len(text.split())
    if isinstance(text, list):
        return sum(_num_words(part.get("text")) for part in text if isinstance(part, dict))
    return 0


def _with_facts(row: Judged, facts: Mapping[str, Facts]) -> Judged:
    found = {id: facts[id] for id, _ in row.item if id in facts}
    if not found or not all(one.answers for one in found.values()):
        return row
    first = found[row.item[0][0]]
    num_words = first.num_words + sum(found[id].answers.get(index, 0) for id, index in row.item)
    return replace(row, task=first.task or row.form, num_words=num_words)
