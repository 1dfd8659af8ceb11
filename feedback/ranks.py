"""The order that a judgement states, whatever its form. Pure."""

from __future__ import annotations

from feedback.events import Feedback


def ranks_of(event: Feedback) -> tuple[list[tuple[str, int]], list[int]]:
    """(completion id, index) of each candidate, and its rank: 1 is best, equal ranks are ties.

    For a ranking or a comparison.
    """
    body = event.body
    if event.form == "comparison":
        refs = [(body[side]["completion_id"], body[side]["index"]) for side in ("a", "b")]
        preference = body["preference"]
        return refs, [1 if preference >= 0 else 2, 1 if preference <= 0 else 2]
    refs = [(ref["completion_id"], ref["index"]) for ref in body["candidates"]]
    rank_of = {letter: rank for rank, tier in enumerate(body["tiers"], start=1) for letter in tier}
    return refs, [rank_of[chr(ord("a") + position)] for position in range(len(refs))]
