"""A form as a judgement, and a judgement as a form.

Answers have letters by their place on the screen: `rank-a`, `likert-a`, `flag-a`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData

from feedback.errors import Unprocessable
from feedback.judgements import (
    Candidate,
    Comparison,
    Demonstration,
    Judgement,
    Message,
    Ranking,
    Rating,
)
from feedback.labeling.given import Given
from feedback.labeling.pages.visitors import prose, text

Filled = Mapping[str, list[str]]  # field -> values; a radio button or a tick box that is on, a text

_LONGEST_MS = 86_400_000


def fields_of(form: FormData) -> dict[str, list[str]]:
    """What was filled in, to be shown again."""
    filled: dict[str, list[str]] = defaultdict(list)
    for name, value in form.multi_items():
        if isinstance(value, str):
            filled[name].append(value)
    return dict(filled)


def judgement_of(form: FormData, given: Given) -> Judgement:
    """Raises Unprocessable, saying what to fill in."""
    shared = {
        "assignment_id": given.id,
        "duration_ms": _duration_ms(form),
        "note": prose(form, "note")[:4_000],
    }
    build = {
        "rank": _ranking,
        "compare": _comparison,
        "rate": _rating,
        "demonstrate": _demonstration,
    }[given.task]
    try:
        return build(form, given, shared)
    except ValidationError as error:
        field = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise Unprocessable(
            f"This form cannot be right: {field}. Fill it in again.", param=field
        ) from error


def fill_from(body: Mapping[str, Any], given: Given) -> dict[str, list[str]]:
    """The form as it was when `body` was said, for the same answers in the same order."""
    filled: dict[str, list[str]] = {"note": [body.get("note") or ""]}
    for letter, rating in (body.get("ratings") or {}).items():
        _fill_rating(filled, letter, rating)
    for rank, tier in enumerate(body.get("tiers") or (), start=1):
        filled |= {f"rank-{letter}": [str(rank)] for letter in tier}
    if given.task == "rate":
        _fill_rating(filled, "a", body)
    if "preference" in body:
        filled["preference"] = [str(body["preference"])]
    filled |= {name: ["1"] for name in ("all_bad", "both_bad") if body.get(name)}
    if "completion" in body:
        filled["completion"] = [body["completion"]]
        filled["prompt"] = [message["content"] for message in body.get("messages") or ()][-1:]
    return filled


def _fill_rating(filled: dict[str, list[str]], letter: str, rating: Mapping[str, Any]) -> None:
    if rating.get("likert"):
        filled[f"likert-{letter}"] = [str(rating["likert"])]
    filled[f"flag-{letter}"] = [
        flag for flag, is_on in (rating.get("flags") or {}).items() if is_on
    ]


def _ranking(form: FormData, given: Given, shared: dict[str, Any]) -> Ranking:
    letters = _letters(given)
    tiers: dict[int, list[str]] = defaultdict(list)
    missing = []
    for letter in letters:
        rank = text(form, f"rank-{letter}")
        if rank.isdecimal():
            tiers[int(rank)].append(letter)
        else:
            missing.append(letter.upper())
    if missing:
        raise Unprocessable(f"Give a rank to {_and(missing)}.", param=f"rank-{missing[0].lower()}")
    ratings = {letter: rating for letter in letters if (rating := _card_rating(form, letter))}
    return Ranking(
        candidates=tuple(_candidates(given)),
        tiers=tuple(tuple(tiers[rank]) for rank in sorted(tiers)),
        all_bad="all_bad" in form,
        ratings=ratings,
        shown_order=tuple(letters),
        **shared,
    )


def _comparison(form: FormData, given: Given, shared: dict[str, Any]) -> Comparison:
    preference = text(form, "preference")
    if not preference.removeprefix("-").isdecimal():
        raise Unprocessable("Choose which one is better.", param="preference")
    a, b = _candidates(given)[:2]
    return Comparison(a=a, b=b, preference=int(preference), both_bad="both_bad" in form, **shared)


def _rating(form: FormData, given: Given, shared: dict[str, Any]) -> Rating:
    rating = _card_rating(form, "a")
    if "likert" not in rating:
        raise Unprocessable("Choose how good it is, from 1 to 7.", param="likert-a")
    (answer,) = given.refs[:1]
    return Rating(completion_id=answer.completion_id, index=answer.index, **rating, **shared)


def _demonstration(form: FormData, given: Given, shared: dict[str, Any]) -> Demonstration:
    prompt, completion = prose(form, "prompt"), prose(form, "completion")
    if given.completion_id is None and not prompt.strip():
        raise Unprocessable("Write the request.", param="prompt")
    if not completion.strip():
        raise Unprocessable("Write the answer.", param="completion")
    messages = () if given.completion_id else (Message(role="user", content=prompt),)
    return Demonstration(
        messages=messages, completion=completion, parent=given.completion_id, **shared
    )


def _card_rating(form: FormData, letter: str) -> dict[str, Any]:
    """Empty where nothing was said of the card."""
    likert = text(form, f"likert-{letter}")
    flags = {str(flag): True for flag in form.getlist(f"flag-{letter}")}
    rating: dict[str, Any] = {"flags": flags} if flags else {}
    return rating | ({"likert": int(likert)} if likert.isdecimal() else {})


def _candidates(given: Given) -> list[Candidate]:
    return [Candidate(completion_id=ref.completion_id, index=ref.index) for ref in given.refs]


def _letters(given: Given) -> list[str]:
    return [chr(ord("a") + place) for place in range(len(given.refs))]


def _duration_ms(form: FormData) -> int:
    """From the first time it was on the screen; a browser keeps that over a reload."""
    shown_at = text(form, "shown_at")
    took_ms = int(time.time() * 1000) - int(shown_at) if shown_at.isdecimal() else 0
    return min(max(took_ms, 0), _LONGEST_MS)


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
