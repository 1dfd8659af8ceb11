"""What is counted of a canary: each arm's answers, and what people said. Pure, and small: JSON in Redis.

A person counts once in what is decided by. *Bad* (an error, a flag, a thumb down): by their first, in the arm
that the hash drew for them. *Pairs*: by the mean of their first few votes, once these are complete. A set counts once
too, for whoever judges it first: many who agree about one pair of answers say little about two versions.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

ArmName = Literal["canary", "production"]
Bad = Literal["errors", "flags", "thumbs_down"]
Units = list[tuple[float, int]]  # a person's mean vote for the canary, 0 to 1; how many have it
Shares = list[tuple[float, int, int]]  # share of the canary, people of its arm, of production's
BADS: tuple[Bad, ...] = ("errors", "flags", "thumbs_down")

VOTES_EACH = 5  # of one person, and no more
SILENT_S = 600.0  # who votes no more after so long has voted
MAX_PEOPLE = (
    5_000  # remembered, of each kind; long before that many a test has decided or never will
)
_STEP = 1.1  # of a histogram of times: two buckets differ by a tenth


@dataclass(kw_only=True)
class Arm:
    """One of the two versions, as it answered those whom the hash drew for it."""

    answers: int = 0
    errors: int = 0  # answers that failed or broke off, but not those that a client left
    flags: int = 0  # answers that moderation flagged or withheld
    thumbs_up: int = 0
    thumbs_down: int = 0
    num_chars: int = 0  # of all whole answers
    num_whole: int = 0
    latency: dict[int, int] = field(default_factory=dict)  # bucket -> whole answers
    first_token: dict[int, int] = field(default_factory=dict)  # bucket -> streams

    def shown(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "errors": self.errors,
            "flags": self.flags,
            "thumbs_up": self.thumbs_up,
            "thumbs_down": self.thumbs_down,
            "error_rate": _share(self.errors, self.answers),
            "flag_rate": _share(self.flags, self.answers),
            "thumbs_down_rate": _share(self.thumbs_down, self.thumbs_up + self.thumbs_down),
            "mean_chars": _share(self.num_chars, self.num_whole),
            "latency_ms": _quantiles(self.latency),
            "first_token_ms": _quantiles(self.first_token),
        }


@dataclass(kw_only=True)
class Firsts:
    """People to whom something bad has happened, each with the arm in which it first did."""

    people: dict[str, tuple[ArmName, float]] = field(default_factory=dict)  # -> arm, share then

    def add(self, person: str, arm: ArmName, *, share: float) -> None:
        if len(self.people) < MAX_PEOPLE:
            self.people.setdefault(person, (arm, share))

    def by_share(self) -> Shares:
        """How many in either arm, by the share at which they were drawn."""
        counts: dict[float, list[int]] = {}
        for arm, share in self.people.values():
            counts.setdefault(share, [0, 0])[arm == "production"] += 1
        return [(share, canary, production) for share, (canary, production) in counts.items()]


@dataclass(kw_only=True)
class Votes:
    """Of one person, until they are complete: judgement -> 1 where the canary won, 0.5 a tie, 0."""

    by_id: dict[str, float] = field(default_factory=dict)
    last: float = 0.0  # unix seconds


@dataclass(kw_only=True)
class Pairs:
    """Blind comparisons of both versions on one prompt."""

    votes: int = 0
    wins: float = 0.0  # of the canary; a tie is half of one
    ties: int = 0
    sets: dict[str, str] = field(default_factory=dict)  # set -> judgement on it that counts
    open: dict[str, Votes] = field(default_factory=dict)  # person -> votes
    complete: dict[str, float] = field(default_factory=dict)  # person -> mean of their votes

    def add(self, person: str, vote_id: str, score: float, *, of: str, now: float) -> None:
        """A vote on a set; of who has voted often enough, or where others were first, only the sums take note."""
        self.votes += 1
        self.wins += score
        self.ties += score == 0.5
        is_full = len(self.sets) >= MAX_PEOPLE
        if person in self.complete or of in self.sets or is_full:
            return
        self.sets[of] = vote_id
        votes = self.open.setdefault(person, Votes())
        votes.by_id[vote_id] = score
        votes.last = now
        if len(votes.by_id) >= VOTES_EACH:
            self._close(person)

    def take_back(self, person: str, vote_id: str) -> None:
        """Only while the person's votes are not complete: what has counted has counted."""
        votes = self.open.get(person)
        if votes is None or vote_id not in votes.by_id:
            return
        score = votes.by_id.pop(vote_id)
        self.sets = {each: judged for each, judged in self.sets.items() if judged != vote_id}
        self.votes -= 1
        self.wins -= score
        self.ties -= score == 0.5
        if not votes.by_id:
            del self.open[person]

    def close_silent(self, *, now: float) -> bool:
        """Complete the votes of those who have left. True if there were any."""
        silent = [person for person, votes in self.open.items() if now - votes.last >= SILENT_S]
        for person in silent:
            self._close(person)
        return bool(silent)

    def units(self) -> Units:
        """How many people with which mean vote."""
        return sorted(Counter(self.complete.values()).items())

    def _close(self, person: str) -> None:
        scores = self.open.pop(person).by_id.values()
        self.complete[person] = round(sum(scores) / len(scores), 6)


@dataclass(kw_only=True)
class Figures:
    """Of one canary, up to one place in the log."""

    canary: str
    through: dict[str, str]  # kind -> entry id
    arms: dict[str, Arm] = field(default_factory=lambda: {"canary": Arm(), "production": Arm()})
    bad: dict[str, Firsts] = field(default_factory=lambda: {name: Firsts() for name in BADS})
    pairs: Pairs = field(default_factory=Pairs)

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self), option=orjson.OPT_NON_STR_KEYS)


def load(data: bytes) -> Figures:
    fields = orjson.loads(data)
    pairs = fields["pairs"]
    return Figures(
        canary=fields["canary"],
        through=fields["through"],
        arms={name: _arm(arm) for name, arm in fields["arms"].items()},
        bad={name: _firsts(firsts["people"]) for name, firsts in fields["bad"].items()},
        pairs=Pairs(**{**pairs, "open": {p: Votes(**v) for p, v in pairs["open"].items()}}),
    )


def bucket(ms: float) -> int:
    """Of a histogram of times."""
    return math.floor(math.log(max(ms, 1.0), _STEP))


def _arm(fields: dict[str, Any]) -> Arm:
    times = {
        name: {int(key): count for key, count in fields[name].items()}
        for name in ("latency", "first_token")
    }
    return Arm(**{**fields, **times})


def _firsts(people: dict[str, list[Any]]) -> Firsts:
    return Firsts(people={person: (arm, share) for person, (arm, share) in people.items()})


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _quantiles(histogram: dict[int, int]) -> dict[str, float] | None:
    """p50 and p95, milliseconds: the middle of the bucket, right to a twentieth."""
    total = sum(histogram.values())
    if not total:
        return None
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        below = 0
        for number in sorted(histogram):
            below += histogram[number]
            if below >= share * total:
                found[name] = round(_STEP ** (number + 0.5), 1)
                break
    return found
