"""Figures out of the log: each record of it is counted once, wherever the one before stopped counting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import orjson
import redis

from feedback import eventlog, keys
from feedback.events import Completion, Feedback, decode
from feedback.ranks import ranks_of
from serving.canary.figures import Figures, bucket
from serving.canary.people import person
from serving.canary.state import Canary

_PAGE = 500
_PAGES = 20  # of each kind at a time: others are to get the lease, and the verdict, meanwhile


def count(client: redis.Redis, canary: Canary, counted: Figures, *, now: float) -> bool:
    """Count what came since. True if anything has changed."""
    answers = _read(client, counted, Completion.kind)
    for event in answers:
        take_answer(counted, cast(Completion, event))
    judgements = cast("list[Feedback]", _read(client, counted, Feedback.kind))
    for judgement in judgements:
        if not speaks(client, judgement):
            continue
        about = {name: _completion(client, name) for name in judgement.completion_ids}
        known = {name: answer for name, answer in about.items() if answer is not None}
        take_judgement(counted, judgement, known, canary=canary)
    has_left = counted.pairs.close_silent(now=now)
    return bool(answers or judgements or has_left)


def take_answer(counted: Figures, answer: Completion) -> None:
    """An answer to somebody who was drawn."""
    drawn = answer.drawn
    if drawn is None or drawn["canary"] != counted.canary:
        return
    arm = counted.arms[drawn["arm"]]
    arm.answers += 1
    who, share = _who(answer), drawn["share"]
    if answer.broken_by == "engine":
        arm.errors += 1
        counted.bad["errors"].add(who, drawn["arm"], share=share)
    if _is_flagged(answer):
        arm.flags += 1
        counted.bad["flags"].add(who, drawn["arm"], share=share)
    if not answer.complete:
        return
    arm.num_whole += 1
    arm.num_chars += sum(len(choice.text) for choice in answer.choices) // len(answer.choices)
    _add(arm.latency, answer.latency_ms)
    if answer.first_token_ms is not None:
        _add(arm.first_token, answer.first_token_ms)


def take_judgement(
    counted: Figures, said: Feedback, about: Mapping[str, Completion], *, canary: Canary
) -> None:
    """A thumb, a vote between the versions, or one taken back. `about`: its answers, as far as they are known."""
    voter = person(
        tenant=said.tenant, key_id=said.key_id, end_user=f"{said.source}:{said.labeler}", request={}
    )
    if said.form == "retraction":
        counted.pairs.take_back(voter, said.body["of"])
    elif said.form == "rating" and said.body.get("thumb"):
        _take_thumb(counted, said, about, voter=voter)
    elif said.form in ("ranking", "comparison"):
        if said.replaces is not None:
            counted.pairs.take_back(voter, said.replaces)
        if (score := score_of(said, about, canary=canary)) is not None:
            of = _set_of(said.completion_ids)
            counted.pairs.add(voter, said.id, score, of=of, now=said.created)


def score_of(said: Feedback, about: Mapping[str, Completion], *, canary: Canary) -> float | None:
    """`won` by the canary, from the version that was production when it began."""
    by = {name: answer.version for name, answer in about.items() if not answer.is_mixed}
    return won(said, by, ours=canary.version, theirs=canary.incumbent)


def won(said: Feedback, by: Mapping[str, str], *, ours: str, theirs: str) -> float | None:
    """How much of the pairs between the two ours has won, 0 to 1, ties half. `by`: whose the answers are. None:
    the set does not compare them, since not every answer in it is of one of them alone."""
    refs, ranks = ranks_of(said)
    ranks_by: dict[str, list[int]] = {ours: [], theirs: []}
    for (completion_id, _), rank in zip(refs, ranks, strict=True):
        if (whose := by.get(completion_id, "")) not in ranks_by:
            return None
        ranks_by[whose].append(rank)
    pairs = [
        (1.0 if a < b else 0.5 if a == b else 0.0) for a in ranks_by[ours] for b in ranks_by[theirs]
    ]
    return sum(pairs) / len(pairs) if pairs and ours != theirs else None


def _take_thumb(
    counted: Figures, said: Feedback, about: Mapping[str, Completion], *, voter: str
) -> None:
    answer = about.get(said.body["completion_id"])
    drawn = answer.drawn if answer is not None else None
    if answer is None or drawn is None or drawn["canary"] != counted.canary:
        return
    arm = counted.arms[drawn["arm"]]
    if said.body["thumb"] == "up":
        arm.thumbs_up += 1
        return
    arm.thumbs_down += 1
    # An app's key speaks for all its users; a labeler judges many people's answers, as one person.
    who = voter if said.source == "labeler" else _who(answer)
    counted.bad["thumbs_down"].add(who, drawn["arm"], share=drawn["share"])


def _who(answer: Completion) -> str:
    return person(
        tenant=answer.tenant,
        key_id=answer.key_id,
        end_user=answer.end_user,
        request=answer.request,
    )


def _set_of(completion_ids: list[str]) -> str:
    return hashlib.blake2b(" ".join(sorted(completion_ids)).encode(), digest_size=8).hexdigest()


def _is_flagged(answer: Completion) -> bool:
    flagged = answer.moderation.get("flagged", {}).get("choices", ())
    return any(flagged) or any(choice.blocked for choice in answer.choices)


def _add(histogram: dict[int, int], ms: float) -> None:
    number = bucket(ms)
    histogram[number] = histogram.get(number, 0) + 1


def _read(client: redis.Redis, counted: Figures, kind: str) -> list[Any]:
    """What came of a kind since; moves on in `through`."""
    found: list[Any] = []
    for _ in range(_PAGES):
        start = f"({counted.through[kind]}"
        page = client.xrange(keys.stream(kind), start, "+", count=_PAGE)
        rows = cast(eventlog.Rows, page)
        found += [decode(kind, fields[b"e"]) for _, fields in rows]
        if rows:
            counted.through[kind] = rows[-1][0].decode()
        if len(rows) < _PAGE:
            break
    return found


def _completion(client: redis.Redis, completion_id: str) -> Completion | None:
    """What is in the archive by now is older than any canary."""
    found = eventlog.get(client, Completion.kind, completion_id)
    return found if isinstance(found, Completion) else None


def speaks(client: redis.Redis, said: Feedback) -> bool:
    """Labelers count once they have passed their screening, as in training."""
    if said.source != "labeler":
        return True
    data = cast("bytes | None", client.hget(keys.LABELERS, said.labeler))
    return data is not None and orjson.loads(data)["status"] == "active"
