"""Simulated end users before a canary: each compares answers of both versions to one prompt, blind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from serving.canary.figures import VOTES_EACH
from training.demo_people import Failed, Person

LikesCanary = Callable[[str, str], bool]  # the canary's answer, production's

_TRIES = 5  # for each vote: moderation may withhold an answer


async def vote(
    person: Person,
    *,
    voters: Sequence[str],
    prompts: Sequence[str],
    prefer: LikesCanary,
    max_tokens: int,
    concurrency: int,
) -> dict[str, int]:
    """Everybody votes as often as counts, or until the canary is decided. Returns how often each one voted."""
    room = asyncio.Semaphore(concurrency)

    async def one(number: int, name: str) -> int:
        async with room:
            own = [
                prompts[(number + len(voters) * turn) % len(prompts)]
                for turn in range(_TRIES * VOTES_EACH)
            ]
            return await _votes(person, name, own, prefer, max_tokens=max_tokens)

    votes = await asyncio.gather(*(one(number, name) for number, name in enumerate(voters)))
    return {name: number for name, number in zip(voters, votes, strict=True) if number}


async def _votes(
    person: Person, name: str, prompts: Sequence[str], prefer: LikesCanary, *, max_tokens: int
) -> int:
    done = 0
    try:
        for prompt in prompts:
            if done == VOTES_EACH:
                break
            pair = await _answers(person, name, prompt, max_tokens=max_tokens)
            if pair is None:
                continue
            ours, theirs = pair
            best_first = (ours, theirs) if prefer(ours["text"], theirs["text"]) else (theirs, ours)
            body = {
                "candidates": [{"completion_id": one["id"], "index": 0} for one in best_first],
                "tiers": [["a"], ["b"]],
                "labeler": name,
            }
            await person.post("/v1/feedback/rankings", body)
            done += 1
    except Failed as error:
        if error.status != 404:  # decided: there is no canary any more
            raise
    return done


async def _answers(
    person: Person, name: str, prompt: str, *, max_tokens: int
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The canary's and production's; None where moderation refuses the prompt or withholds an answer."""
    found = []
    for alias in ("canary", "production"):
        try:
            answer, _ = await person.ask_again(
                prompt, model=f"policy@{alias}", max_tokens=max_tokens, temperature=1.0, user=name
            )
        except Failed as error:
            if error.status != 400:
                raise
            return None
        choice = answer["choices"][0]
        if choice["finish_reason"] == "content_filter":
            return None
        found.append({"id": answer["id"], "text": choice["message"]["content"] or ""})
    return found[0], found[1]
