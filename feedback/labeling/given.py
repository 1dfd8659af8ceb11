"""What a labeler was given: its records, and how a completion becomes one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from feedback.events import Choice, Completion
from feedback.labeling.queues import Ref, Task

# What to write where no prompt is given: InstructGPT, section 3.2 and appendix A.2.
Kind = Literal["answer", "plain", "few_shot", "user_based"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One answer on the screen."""

    completion_id: str
    index: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was given to whom; kept in Redis while it may come back. No text."""

    id: str  # asg_…
    task: Task
    labeler: str
    tenant: str
    completion_id: str | None  # None: a demonstration of a prompt of the labeler's own
    refs: list[Ref]  # in the order shown
    is_known: bool = False
    kind: Kind = "answer"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A piece of work on a labeler's screen."""

    given: Given
    messages: list[dict[str, Any]]  # the prompt as a conversation; empty where none is given
    shown: list[Shown]
    lease_ends: float  # unix seconds

    @property
    def id(self) -> str:
        return self.given.id


def visible_choices(completion: Completion) -> list[Choice]:
    """The choices that somebody may be shown."""
    return [choice for choice in completion.choices if not choice.blocked]


def messages_of(completion: Completion) -> list[dict[str, Any]]:
    """The prompt, as a conversation."""
    request = completion.request
    if "messages" in request:
        return list(request["messages"])
    return [{"role": "user", "content": request["prompt"]}]


def refs_of(completion: Completion) -> list[Ref]:
    return [
        Ref(completion_id=completion.id, index=choice.index)
        for choice in visible_choices(completion)
    ]


def load(data: bytes) -> Given:
    fields = orjson.loads(data)
    return replace(Given(**fields), refs=[Ref(**ref) for ref in fields["refs"]])
