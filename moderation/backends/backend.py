"""What every backend can do, and what it says of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One text."""

    scores: Mapping[str, float]  # 0 to 1, of the categories that the backend scores and no other
    flagged: tuple[str, ...] | None = None  # the backend's own word; None: its thresholds say it
    num_windows: int = 1  # pieces that it was read in


class Backend(Protocol):
    """One per server. A text that cannot be judged raises Unavailable, never passes."""

    @property
    def model(self) -> str:
        """The name given in answers."""

    @property
    def scored(self) -> tuple[str, ...]:
        """The categories it can judge, in OpenAI's order; the others are null."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Score from which each of them counts as flagged."""

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        """One judgement a text, in order. Raises Unavailable."""

    async def close(self) -> None:
        """Let connections and threads go."""
