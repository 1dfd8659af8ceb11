"""What an operator would see of rounds and versions from minute to minute, written down as it changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from training.demo_people import Person

_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something changed."""

    seconds: float  # since the recording began
    what: str


@dataclass(kw_only=True)
class Recording:
    """Told in order; nothing twice in a row."""

    tell: Callable[[str], None]
    moments: list[Moment] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _last: dict[str, str] = field(default_factory=dict)

    def note(self, subject: str, what: str) -> None:
        """If it is another thing than was last said of this subject."""
        if what and self._last.get(subject) != what:
            self._last[subject] = what
            moment = Moment(
                seconds=round(time.monotonic() - self._began, 1), what=f"{subject}: {what}"
            )
            self.moments.append(moment)
            self.tell(f"{moment.seconds:7.1f} s  {moment.what}")


@asynccontextmanager
async def recording(operator: Person, tell: Callable[[str], None]) -> AsyncIterator[Recording]:
    """Looks twice a second, until the block ends."""
    record = Recording(tell=tell)
    watching = asyncio.create_task(_watch(operator, record))
    try:
        yield record
        await _look(operator, record)
    finally:
        watching.cancel()


async def _watch(operator: Person, record: Recording) -> None:
    while True:
        await _look(operator, record)
        await asyncio.sleep(_EVERY_S)


async def _look(operator: Person, record: Recording) -> None:
    for state in reversed((await operator.get("/admin/rounds"))["data"]):
        record.note(state["round_id"], _of_round(state))
    canaries = await operator.get("/admin/canary")
    for ended in canaries["history"]:
        record.note(f"canary {ended['version']}", f"{ended['outcome']}: {ended['end_reason']}")
    if (running := canaries["running"]) is not None:
        record.note(f"canary {running['version']}", f"answers {running['share']:.0%} of the people")
    live = await operator.get("/policy")
    record.note("production", live["production"]["version"])


def _of_round(state: dict[str, Any]) -> str:
    if state["status"] == "running":
        return f"running, {state['step']}" if state["step"] else ""
    detail = json.loads(state.get("detail") or "{}")
    failed = ", ".join(detail.get("failed_checks", ()))
    return state["status"] + (f" by {failed}" if failed else "")
