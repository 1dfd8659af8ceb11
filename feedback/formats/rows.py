"""Rows of the four parts of a dataset, from judgements and the answers they are about.

preference      prompt, chosen, rejected, margin: TRL's conversational format, a row for each pair
rankings        context, completions with ranks: NeMo-RL's shape, K answers, ties and "all bad" kept
demonstrations  messages, the answer last
ratings         messages, the answer last; likert, thumb, flags, metrics

`rankings`, `demonstrations` and `ratings` hold all that there is; `preference` follows from `rankings`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import orjson

from feedback.events import Choice, Completion, Feedback
from feedback.ranks import ranks_of
from feedback.snapshots import splits

Row = dict[str, Any]
Config = Literal["preference", "rankings", "demonstrations", "ratings"]
CONFIGS: tuple[Config, ...] = ("preference", "rankings", "demonstrations", "ratings")

ORIGIN, ORIGIN_VERSION, PERSON = "origin", "origin_version", "person"  # metadata of imported ones


class NotUsable(Exception):
    """A judgement whose answers cannot be given away; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One judged answer and where it came from."""

    text: str
    origin: str  # "<completion id>:<index>", in the log where it was sampled
    version: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers that a judgement is about, in its order, and their prompt."""

    source: Completion
    prompt: list[dict[str, str]]
    answers: list[Answer]


def rows_of(
    event: Feedback, completions: Mapping[str, Completion], mask: Callable[[str], str]
) -> Iterator[tuple[Config, Row]]:
    """Rows of one judgement. Raises NotUsable."""
    if event.form == "demonstration":
        yield "demonstrations", _demonstration(event, completions, mask)
        return
    judged = _judged(event, completions, mask)
    if event.form == "rating":
        yield "ratings", {**_rating(event.body), **_about(event, judged, 0, mask)}
        return
    ranking = _ranking(event, judged, mask)
    yield "rankings", ranking
    for pair in pairs(ranking):
        yield "preference", pair
    for number, card in enumerate(ranking["completions"]):
        if card["likert"] is not None or card["flags"]:
            said = {"likert": card["likert"], "flags": card["flags"], "ranking_id": event.id}
            yield "ratings", {**_NO_RATING, **said, **_about(event, judged, number, mask)}


def person_of(completion: Completion) -> str:
    """Who asked, unnamed: the same sixteen digits for all that one person asked."""
    imported = completion.metadata.get(PERSON)
    if imported is not None:
        return imported
    person = splits.person_of(completion.tenant, completion.end_user, completion.key_id)
    return _hash(person)


def pairs(ranking: Row) -> Iterator[Row]:
    """The K(K-1)/2 pairs of a ranking, without the ties. They share its id, and so one split."""
    for one, other in combinations(ranking["completions"], 2):
        if one["rank"] == other["rank"]:
            continue
        chosen, rejected = sorted((one, other), key=lambda answer: int(answer["rank"]))
        stated = ranking["preference"]
        yield {
            "prompt": ranking["context"],
            "chosen": chosen["completion"],
            "rejected": rejected["completion"],
            "margin": float(
                abs(stated) if stated is not None else rejected["rank"] - chosen["rank"]
            ),
            "ranking_id": ranking["id"],
            "labeler": ranking["labeler"],
            "person": ranking["person"],
        }


def prompt_of(completion: Completion) -> list[dict[str, str]]:
    """What was asked, as messages of text; a tool call's JSON is text, as in the log."""
    messages = completion.request.get("messages")
    if messages is None:
        return [{"role": "user", "content": str(completion.request.get("prompt", ""))}]
    return [{"role": str(m["role"]), "content": _text(m)} for m in messages]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    if calls := message.get("tool_calls"):
        content += orjson.dumps(calls).decode()
    return content


def _judged(
    event: Feedback, completions: Mapping[str, Completion], mask: Callable[[str], str]
) -> Answers:
    refs = (
        [(event.body["completion_id"], event.body["index"])]
        if event.form == "rating"
        else ranks_of(event)[0]
    )
    answers: list[Answer] = []
    for completion_id, index in refs:
        completion, choice = _find(completions, completion_id, index)
        answers.append(_answer(completion, choice, mask))
    source = completions[refs[0][0]]
    prompt = prompt_of(source)
    if any(prompt_of(completions[completion_id]) != prompt for completion_id, _ in refs[1:]):
        raise NotUsable("different_prompts")
    return Answers(source=source, prompt=_masked(prompt, mask), answers=answers)


def _find(
    completions: Mapping[str, Completion], completion_id: str, index: int
) -> tuple[Completion, Choice]:
    completion = completions.get(completion_id)
    choices = completion.choices if completion is not None else []
    choice = next((choice for choice in choices if choice.index == index), None)
    if completion is None or choice is None:
        raise NotUsable("completion_missing")
    if completion.is_mixed:
        raise NotUsable("mixed_versions")
    if not completion.complete or choice.blocked:
        raise NotUsable("answer_not_whole")
    return completion, choice


def _answer(completion: Completion, choice: Choice, mask: Callable[[str], str]) -> Answer:
    origins = completion.metadata.get(ORIGIN, "").split()
    versions = completion.metadata.get(ORIGIN_VERSION, "").split()
    is_imported = choice.index < min(len(origins), len(versions))
    return Answer(
        text=mask(choice.text),
        origin=origins[choice.index] if is_imported else f"{completion.id}:{choice.index}",
        version=versions[choice.index] if is_imported else completion.version,
    )


def _ranking(event: Feedback, judged: Answers, mask: Callable[[str], str]) -> Row:
    cards = event.body.get("ratings", {})
    ranks = [rank - 1 for rank in ranks_of(event)[1]]  # NeMo-RL counts from 0
    completions = []
    for number, (answer, rank) in enumerate(zip(judged.answers, ranks, strict=True)):
        card = cards.get(chr(ord("a") + number), {})
        completions.append(
            {
                "rank": rank,
                "completion": assistant(answer.text),
                "likert": card.get("likert"),
                "flags": _pairs(card.get("flags", {})),
                "origin": answer.origin,
                "version": answer.version,
            }
        )
    return {
        "id": event.id,
        "context": judged.prompt,
        "completions": completions,
        "form": event.form,
        "preference": event.body.get("preference"),
        "all_bad": event.body.get("all_bad", event.body.get("both_bad", False)),
        "shown_order": event.body.get("shown_order"),
        **_said(event, mask),
        **_asked(judged.source),
    }


_NO_RATING: Row = {"likert": None, "thumb": None, "flags": [], "metrics": [], "ranking_id": None}


def _rating(body: Mapping[str, Any]) -> Row:
    metrics = [
        {"name": name, "value": float(value), "is_boolean": isinstance(value, bool)}
        for name, value in body.get("metrics", {}).items()
    ]
    return {
        **_NO_RATING,
        "likert": body.get("likert"),
        "thumb": body.get("thumb"),
        "flags": _pairs(body.get("flags", {})),
        "metrics": metrics,
    }


def _about(event: Feedback, judged: Answers, number: int, mask: Callable[[str], str]) -> Row:
    """The fields of a rating that do not say how good the answer is."""
    answer = judged.answers[number]
    return {
        "id": event.id,
        "messages": [*judged.prompt, *assistant(answer.text)],
        "origin": answer.origin,
        "version": answer.version,
        **_said(event, mask),
        **_asked(judged.source),
    }


def _demonstration(
    event: Feedback, completions: Mapping[str, Completion], mask: Callable[[str], str]
) -> Row:
    parent = completions.get(event.completion_ids[0]) if event.completion_ids else None
    if event.completion_ids and parent is None:
        raise NotUsable("completion_missing")
    prompt = prompt_of(parent) if parent is not None else event.body["messages"]
    author = splits.person_of(event.tenant, None, event.labeler)
    return {
        "id": event.id,
        "messages": _masked([*prompt, *assistant(event.body["completion"])], mask),
        "parent": _parent(parent) if parent is not None else None,
        **_said(event, mask),
        **(_asked(parent) if parent is not None else {"endpoint": "chat", "person": _hash(author)}),
    }


def _parent(completion: Completion) -> str | None:
    return completion.metadata.get(ORIGIN) if completion.is_imported else completion.id


def _said(event: Feedback, mask: Callable[[str], str]) -> Row:
    return {
        "labeler": event.labeler,
        "created": event.created,
        "duration_ms": event.body.get("duration_ms"),
        "note": mask(event.body.get("note", "")),
        "tags": _pairs({name: mask(tag) for name, tag in event.body.get("tags", {}).items()}),
    }


def _asked(completion: Completion) -> Row:
    return {"endpoint": completion.endpoint, "person": person_of(completion)}


def _hash(person: str) -> str:
    return hashlib.sha256(person.encode()).hexdigest()[:16]


def _pairs(values: Mapping[str, Any]) -> list[Row]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _masked(messages: list[dict[str, str]], mask: Callable[[str], str]) -> list[dict[str, str]]:
    return [{**message, "content": mask(message["content"])} for message in messages]
