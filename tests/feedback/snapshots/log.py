"""Events for snapshots, and a log of them that is no Redis: the same two methods as History has."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feedback.events import Choice, Completion, Event, Feedback
from feedback.snapshots import builder
from feedback.snapshots.people import People
from feedback.snapshots.rules import Rules


class Log:
    """Events in memory."""

    def __init__(self, *events: Event) -> None:
        self.events = list(events)

    def read(self, kind: str, *, after: str = "-", until: str = "+") -> Iterator[tuple[str, Event]]:
        for number, event in enumerate(self.events, start=1):
            if event.kind == kind and (until == "+" or number <= int(until.split("-")[0])):
                yield f"{number}-0", event

    def last_entry(self, kind: str) -> str | None:
        entries = [entry for entry, _ in self.read(kind)]
        return entries[-1] if entries else None


def freeze(
    folder: Path, *events: Event, people: People | None = None, **rules: Any
) -> dict[str, Any]:
    """The manifest of a snapshot of these events."""
    return builder.create(
        Log(*events),
        folder,
        rules=Rules(**{"heldout_share": 0.0, **rules}),
        people=people or People(),
    )


def completion(number: int, **changes: Any) -> Completion:
    """Three answers to "question <number>", asked by one of twenty users."""
    choices = [answer(number, index) for index in range(3)]
    event = Completion(
        id=f"chatcmpl-{number}",
        created=float(number),
        key_id="key",
        tenant="t",
        endpoint="chat",
        request={"messages": [{"role": "user", "content": f"question {number}"}]},
        prompt_ids=[1, number],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
        end_user=f"user-{number % 20}",
    )
    return dataclasses.replace(event, **changes)


def asked(number: int, text: str, **changes: Any) -> Completion:
    """A completion whose prompt is this text."""
    messages = [{"role": "user", "content": text}]
    return completion(number, request={"messages": messages}, **changes)


def answer(number: int, index: int, **changes: Any) -> Choice:
    choice = Choice(
        index=index,
        text=f"answer {index}",
        token_ids=[number, index],
        logprobs=[-1.0, -1.0],
        finish_reason="stop",
    )
    return dataclasses.replace(choice, **changes)


def ranking(number: int, *tiers: list[str], labeler: str = "anna", **changes: Any) -> Feedback:
    refs = [{"completion_id": f"chatcmpl-{number}", "index": index} for index in range(3)]
    body = {"candidates": refs, "tiers": list(tiers or (["a"], ["b"], ["c"]))}
    return feedback("ranking", body, number=number, labeler=labeler, **changes)


def comparison(number: int, preference: int, **changes: Any) -> Feedback:
    a, b = ({"completion_id": f"chatcmpl-{number}", "index": index} for index in range(2))
    body = {"a": a, "b": b, "preference": preference} | changes.pop("body", {})
    return feedback("comparison", body, number=number, **changes)


def demonstration(number: int, text: str = "better", **changes: Any) -> Feedback:
    body = {"messages": [], "completion": text, "parent": f"chatcmpl-{number}"}
    return feedback("demonstration", body, number=number, **changes)


def retraction(judgement_id: str, *, labeler: str = "anna") -> Feedback:
    return feedback("retraction", {"of": judgement_id}, number=0, labeler=labeler)


def feedback(
    form: str, body: dict[str, Any], *, number: int, labeler: str = "anna", **changes: Any
) -> Feedback:
    event = Feedback(
        id=f"fbk_{form}_{number}_{labeler}",
        created=float(number),
        form=form,
        labeler=labeler,
        tenant="t",
        completion_ids=[f"chatcmpl-{number}"],
        body=body,
    )
    return dataclasses.replace(event, **changes)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def removed(manifest: dict[str, Any], part: str = "rankings") -> dict[str, int]:
    """How many each filter took away."""
    steps = manifest["funnels"][part]
    return {step["filter"]: step["removed"] for step in steps if step["removed"]}
