"""Freezes everything said up to one moment into a folder of JSON lines.

1. Bounds are written first, so that a snapshot that was interrupted is made again over the same events.
2. The first pass stages judgements, the second the completions they are about and a sample of prompts.
3. Filters: what stays, and why the rest does not. 4. Rankings, undecided sets, demonstrations and prompts are
written, personal data masked in what is left. 5. `manifest.json`, last: from then on nothing changes.

Memory is bounded and time linear in the number of events: `hone bench snapshot`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import orjson

from feedback.events import Completion, Event, Feedback
from feedback.snapshots import filters
from feedback.snapshots.answers import Answers
from feedback.snapshots.files import write_json
from feedback.snapshots.judged import Judged
from feedback.snapshots.parts import Parts
from feedback.snapshots.people import People
from feedback.snapshots.pool import PromptPool
from feedback.snapshots.rules import Rules
from feedback.snapshots.staging import Staging

MANIFEST = "manifest.json"


class Source(Protocol):
    """What a snapshot needs of `feedback.history.History`."""

    def read(
        self, kind: str, *, after: str = "-", until: str = "+"
    ) -> Iterator[tuple[str, Event]]: ...

    def last_entry(self, kind: str) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Span:
    """The events of one kind that a snapshot has read."""

    num: int
    first: dict[str, Any] | None  # entry id and unix seconds
    last: dict[str, Any] | None


def create(source: Source, folder: Path, *, rules: Rules, people: People) -> dict[str, Any]:
    """Make the snapshot in `folder`, or find it there finished. Returns its manifest."""
    if (folder / MANIFEST).exists():
        return cast("dict[str, Any]", orjson.loads((folder / MANIFEST).read_bytes()))
    folder.mkdir(parents=True, exist_ok=True)
    bounds = _bounds(source, folder)
    with Staging(folder) as staging:
        judged = Judged(staging, people)
        feedback = _pass(source, Feedback.kind, bounds, judged.take)
        answers, pool = Answers(staging, judged.mentioned, rules), PromptPool(staging, rules)

        def take(completion: Completion) -> None:
            answers.take(completion)
            pool.take(completion)

        completions = _pass(source, Completion.kind, bounds, take)
        pool.prune()
        split_by = filters.apply(staging, rules)
        parts = Parts(staging, folder, rules, split_by)
        parts.write(pool)
        found = parts.manifest() | {
            "bounds": bounds,
            "events": {
                Completion.kind: asdict(completions),
                Feedback.kind: asdict(feedback) | {"forms": dict(judged.forms)},
            },
        }
    write_json(folder / MANIFEST, found)
    return found


def _bounds(source: Source, folder: Path) -> dict[str, str | None]:
    """Stream entry ids of the last events it holds; None where there are none."""
    path = folder / "bounds.json"
    if not path.exists():
        # Feedback first: a judgement's completion is in the log before the judgement is.
        feedback = source.last_entry(Feedback.kind)
        completions = source.last_entry(Completion.kind)
        write_json(path, {"feedback": feedback, "completions": completions})
    return cast("dict[str, str | None]", orjson.loads(path.read_bytes()))


def _pass(
    source: Source, kind: str, bounds: dict[str, str | None], take: Callable[[Any], None]
) -> Span:
    until = bounds[kind]
    num, entry, first = 0, "", None
    event: Event | None = None
    if until is not None:
        for entry, event in source.read(kind, until=until):
            if first is None:
                first = {"entry": entry, "created": event.created}
            num += 1
            take(event)
    last = {"entry": entry, "created": event.created} if event is not None else None
    return Span(num=num, first=first, last=last)
