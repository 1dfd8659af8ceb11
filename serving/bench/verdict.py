"""What became of streams while versions changed: dropped, wrong, made to wait. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.bench.load import Answer, quantile


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One promotion. Times are perf_counter seconds, as an answer's."""

    version: str
    began: float
    ended: float
    before: Answer  # asked of the version that was production until then, under the same load
    probe: Answer  # asked as soon as the version was production


def judged(
    answers: Sequence[Answer], engine_said: Mapping[str, tuple[str, str]], *, num_tokens: int
) -> dict[str, Any]:
    """How many were not as they must be. `engine_said`: id -> its version at first and last token."""
    ended = [answer for answer in answers if not answer.error]
    known = [answer for answer in ended if answer.id in engine_said]
    short = [a for a in ended if a.num_tokens < num_tokens and not a.is_withheld]
    return {
        "streams": len(answers),
        "dropped": len(answers) - len(ended) + len(short),
        "wrong_version": sum(
            answer.said | {engine_said.get(answer.id, (answer.version,))[0]} != {answer.version}
            for answer in ended
        ),
        "mixed_versions": sum(len(set(engine_said[answer.id])) > 1 for answer in known),
        "not_in_log": len(ended) - len(known),
        "withheld_by_moderation": sum(answer.is_withheld for answer in ended),
        "errors": sorted({answer.error for answer in answers if answer.error})[:5],
    }


def timed(answers: Sequence[Answer], swaps: Sequence[Swap]) -> dict[str, Any]:
    """Milliseconds. Silence is the longest that any client waited for its next piece of text."""
    crossing = [sum(a.began < swap.began < a.ended for a in answers) for swap in swaps]
    new = [swap.probe.times[0] - swap.began for swap in swaps if swap.probe.times]
    old = [s.before.times[0] - s.before.began for s in swaps if s.before.times]
    took = [swap.ended - swap.began for swap in swaps]
    return {
        "fewest_streams_across_a_swap": min(crossing, default=0),
        "swap_ms": spread_ms(took),
        "first_text_of_new_version_ms": spread_ms(new),
        "first_text_without_a_swap_ms": spread_ms(old),
        "silence_ms": spread_ms([silence_s(answers, s.began, s.ended) for s in swaps]),
        "silence_as_long_before_ms": spread_ms(
            [silence_s(answers, s.began - t, s.began) for s, t in zip(swaps, took, strict=True)]
        ),
    }


def silence_s(answers: Sequence[Answer], began: float, ended: float) -> float:
    """The longest wait for a piece of text, the first included, that touches the time between."""
    longest = 0.0
    for answer in answers:
        marks = [answer.began, *answer.times]
        waits = [b - a for a, b in zip(marks, marks[1:], strict=False) if b > began and a < ended]
        longest = max([longest, *waits])
    return longest


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Nearest rank: with twenty of them p99 is the longest."""
    return {"p50": quantile(seconds, 0.5) * 1e3, "p99": quantile(seconds, 0.99) * 1e3}
