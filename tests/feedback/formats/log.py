"""A small log with everything in it that an export has to tell apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import redis

from feedback import eventlog
from feedback.events import Choice, Completion, Feedback

TENANT = "default"


def completion(number: int, *, num_answers: int = 3, **changes: Any) -> Completion:
    choices = [
        Choice(
            index=index,
            text=f"answer {index} to {number}",
            token_ids=[number, index],
            logprobs=[-1.0, -1.0],
            finish_reason="stop",
        )
        for index in range(num_answers)
    ]
    event = Completion(
        id=f"chatcmpl-{number}",
        created=1.0,
        key_id="key_app",
        tenant=TENANT,
        endpoint="chat",
        request={"messages": [{"role": "user", "content": f"question {number}"}]},
        prompt_ids=[1, number],
        choices=choices,
        version=f"policy-{number:04}",
        version_last=f"policy-{number:04}",
        digest="d" * 64,
        latency_ms=1.0,
        end_user=f"user-{number % 20}",
    )
    return dataclasses.replace(event, **changes)


def judgement(form: str, number: int, body: dict[str, Any], **changes: Any) -> Feedback:
    event = Feedback(
        id=f"fbk_{form}_{number}",
        created=100.0 + number,
        form=form,
        labeler="anna",
        tenant=TENANT,
        completion_ids=[f"chatcmpl-{number}"],
        body={"duration_ms": 1500, "note": "", "tags": {}, **body},
    )
    return dataclasses.replace(event, **changes)


def ranking(number: int, *tiers: list[str], **changes: Any) -> Feedback:
    letters = sorted(letter for tier in tiers for letter in tier)
    body = {
        "candidates": [ref(number, index) for index in range(len(letters))],
        "tiers": list(tiers),
        "all_bad": False,
        "ratings": {},
        "shown_order": None,
    }
    return judgement("ranking", number, {**body, **changes.pop("body", {})}, **changes)


def comparison(number: int, preference: int, **changes: Any) -> Feedback:
    body = {"a": ref(number, 0), "b": ref(number, 1), "preference": preference, "both_bad": False}
    return judgement("comparison", number, {**body, **changes.pop("body", {})}, **changes)


def rating(number: int, index: int = 0, **said: Any) -> Feedback:
    changes = {name: said.pop(name) for name in ("id", "labeler", "tenant") if name in said}
    silent: dict[str, Any] = {"likert": None, "thumb": None, "flags": {}, "metrics": {}}
    return judgement("rating", number, {**ref(number, index), **silent, **said}, **changes)


def demonstration(number: int, text: str, **changes: Any) -> Feedback:
    body = {"messages": [], "completion": text, "parent": f"chatcmpl-{number}"}
    return judgement("demonstration", number, {**body, **changes.pop("body", {})}, **changes)


def ref(number: int, index: int) -> dict[str, Any]:
    return {"completion_id": f"chatcmpl-{number}", "index": index}


def fill(client: redis.Redis) -> None:
    """Every form, ties, "all bad", cards, notes, tags, a text completion, several turns, tool calls."""
    text = completion(4, endpoint="text", request={"prompt": "once upon"}, end_user=None)
    turns = [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "there"}],
        },
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": 'quote " and \n newline and ünïcode 🙂'},
    ]
    cards = {
        "a": {"likert": 6, "flags": {"hallucination": False}},
        "c": {"likert": None, "flags": {"sexual_content": True}},
    }
    events: list[Completion | Feedback] = [
        *(completion(number) for number in (1, 2, 3)),
        text,
        completion(5, request={"messages": turns}, num_answers=9),
        completion(6),
        ranking(1, ["b"], ["a", "c"], body={"ratings": cards, "shown_order": ["c", "a", "b"]}),
        ranking(2, ["a", "b", "c"], body={"all_bad": True}, labeler="ben"),
        ranking(5, *[[letter] for letter in "ihgfedcba"]),
        comparison(3, -2, body={"note": "left is rude", "tags": {"page": "faq"}}),
        comparison(4, 0),
        rating(1, 2, thumb="down"),
        rating(2, 1, likert=7, flags={"hallucination": True}),
        rating(4, metrics={"speed": 0.25, "accepted": True}),
        demonstration(6, "a better answer"),
        demonstration(
            7,
            "from nothing",
            completion_ids=[],
            body={"messages": [{"role": "user", "content": "new"}], "parent": None},
        ),
    ]
    for event in events:
        eventlog.append(client, event)
