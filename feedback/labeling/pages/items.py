"""An assignment as the work page shows it. Blind: nothing here says which model wrote what."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from markupsafe import Markup

from feedback.judgements import Flag
from feedback.labeling.given import Assignment, Given, Kind
from feedback.labeling.markdown import to_html
from feedback.labeling.queues import Task

_LONG_CHARS, _LONG_LINES = 2_400, 45  # beyond these a text is folded

# What a labeler can choose between: name, and what it is.
TASKS: dict[Task, tuple[str, str]] = {
    "rank": ("Rank", "Several answers to one request, from the best to the worst."),
    "compare": ("Compare", "Two answers: which is better, and how much?"),
    "rate": ("Rate", "One answer by itself, from 1 to 7."),
    "demonstrate": ("Write", "The answer that you would want to get."),
}
_TITLES: dict[Task, str] = {
    "rank": "Rank the answers",
    "compare": "Which answer is better?",
    "rate": "Rate the answer",
    "demonstrate": "Write the answer",
}
_HINTS: dict[Task, str] = {
    "rank": "1 is the best. Answers that are equally good get the same number.",
    "compare": "Read both, then choose. Say so if both are bad.",
    "rate": "From 1, very bad, to 7, very good. Flag what is wrong with it.",
    "demonstrate": "Write what a helpful, truthful and harmless assistant would have answered.",
}
# The paper's three kinds of prompts that labelers wrote (section 3.2, appendix A.2), in our words.
_INSTRUCTIONS: dict[Kind, str] = {
    "answer": "",
    "plain": "Think of a request that somebody could have: anything, as different as you can from "
    "what you wrote before. Then write the answer you would want to get.",
    "few_shot": "Think of an instruction and a few examples of it, each with a question and its answer; "
    "then one more question. Put all of these in the request, and the answer to the last question below it.",
    "user_based": "Think of an app or a piece of work that this assistant would be used in, and of a request "
    "that its users would send, with all that belongs to it. Then write the answer.",
}
FLAGS = [(flag, flag.replace("_", " ").capitalize()) for flag in get_args(Flag)]
SKIP_REASONS = [
    ("unclear", "The request is unclear"),
    ("language", "Not in a language I know well"),
    ("personal_data", "It holds personal data"),
    ("harmful", "Harmful to read"),
    ("broken", "Something is broken"),
]
PREFERENCES = [
    ("3", "A much better"),
    ("2", "A better"),
    ("1", "A slightly better"),
    ("0", "Equally good"),
    ("-1", "B slightly better"),
    ("-2", "B better"),
    ("-3", "B much better"),
]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A text, rendered and as it is."""

    html: Markup
    raw: str

    @property
    def is_long(self) -> bool:
        return len(self.raw) > _LONG_CHARS or self.raw.count("\n") > _LONG_LINES

    @property
    def num_chars(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, kw_only=True)
class Turn(Part):
    """One message of the prompt."""

    role: str


@dataclass(frozen=True, kw_only=True)
class Card(Part):
    """One answer."""

    letter: str  # by its place on the screen


@dataclass(frozen=True, kw_only=True)
class Item:
    """One piece of work on the screen."""

    id: str
    task: Task
    kind: Kind
    system: list[Turn]
    turns: list[Turn]
    cards: list[Card]
    draft: str  # names the same work when it is given again, under another id
    shown_at: int  # unix milliseconds
    renew_s: int  # how often the page says that somebody is at it

    @property
    def title(self) -> str:
        return "Write a request and its answer" if self.writes_prompt else _TITLES[self.task]

    @property
    def hint(self) -> str:
        return _HINTS[self.task]

    @property
    def instructions(self) -> str:
        return _INSTRUCTIONS[self.kind]

    @property
    def writes_prompt(self) -> bool:
        return self.kind != "answer"

    @property
    def is_long(self) -> bool:
        """Whether the prompt is folded: its last message alone, or all of them."""
        num_lines = sum(turn.raw.count("\n") + 1 for turn in self.turns)
        return sum(turn.num_chars for turn in self.turns) > _LONG_CHARS or num_lines > _LONG_LINES

    @property
    def legend(self) -> list[tuple[list[str], str]]:
        return [keys for keys, tasks in _LEGEND if self.task in tasks]


_ALL: tuple[Task, ...] = ("rank", "compare", "rate", "demonstrate")
_JUDGED: tuple[Task, ...] = ("rank", "compare", "rate")
_LEGEND: list[tuple[tuple[list[str], str], tuple[Task, ...]]] = [
    ((["j", "k"], "next answer, the one before"), ("rank", "compare")),
    ((["1–9"], "its rank, and on to the next"), ("rank",)),
    ((["="], "tie with the one before"), ("rank",)),
    ((["⇧ 1–7"], "how good it is by itself"), ("rank",)),
    ((["1–7"], "how good it is"), ("rate",)),
    ((["a", "b"], "which is better; again: how much"), ("compare",)),
    ((["t"], "equally good"), ("compare",)),
    ((["f"], "flags"), ("rank", "rate")),
    ((["e"], "show all of a long text"), _JUDGED),
    ((["g"], "guidelines"), _ALL),
    ((["s"], "skip"), _ALL),
    ((["z"], "undo the last one"), _ALL),
    ((["?"], "these keys"), _ALL),
    ((["Ctrl ↵"], "submit and next"), _ALL),
]


def build(assignment: Assignment, *, lease_s: float) -> Item:
    """Renders all texts: some milliseconds, on hostile ones up to a second, so call it in a thread."""
    given = assignment.given
    turns = [_turn(message) for message in assignment.messages]
    cards = [
        Card(letter=chr(ord("a") + place), **_both(answer.text))
        for place, answer in enumerate(assignment.shown)
    ]
    return Item(
        id=assignment.id,
        task=given.task,
        kind=given.kind,
        system=[turn for turn in turns if turn.role == "system"],
        turns=[turn for turn in turns if turn.role != "system"],
        cards=cards,
        draft=_draft_name(given),
        shown_at=int(time.time() * 1000),
        renew_s=max(int(lease_s / 3), 5),
    )


def _draft_name(given: Given) -> str:
    refs = [(ref.completion_id, ref.index) for ref in given.refs]
    what = json.dumps([given.labeler, given.task, given.kind, given.completion_id, refs])
    return hashlib.sha256(what.encode()).hexdigest()[:20]


def _turn(message: Mapping[str, Any]) -> Turn:
    role = str(message.get("role", "user"))
    role = "system" if role == "developer" else role
    return Turn(role=role, **_both(_text_of(message)))


def _both(text: str) -> dict[str, Any]:
    html = to_html(text) if text.strip() else '<p class="nothing">nothing was written</p>'
    return {"html": Markup(html), "raw": text}


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [_text_of_part(part) for part in content or [] if isinstance(part, Mapping)]
    if calls := message.get("tool_calls"):
        parts.append(f"```json\n{json.dumps(calls, indent=1, ensure_ascii=False)}\n```")
    return "\n\n".join(parts)


def _text_of_part(part: Mapping[str, Any]) -> str:
    return str(part["text"]) if "text" in part else f"({part.get('type', 'something else')})"
