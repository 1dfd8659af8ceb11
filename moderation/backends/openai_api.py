"""OpenAI's own moderation, or any server of its API. What it flags is its own word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moderation import policy
from moderation.backends.backend import Judged
from moderation.backends.batching import Batcher
from moderation.backends.remote import Remote
from moderation.categories import CATEGORIES
from moderation.settings import ModerationSettings

_MODEL = "omni-moderation-latest"
_NUM_REQUESTS = 4


class OpenAiApi:
    """`backend_key` is an OpenAI key."""

    scored = CATEGORIES
    thresholds: Mapping[str, float] = dict.fromkeys(CATEGORIES, policy.FLAG)

    def __init__(self, settings: ModerationSettings) -> None:
        self._remote = Remote(
            settings.backend_url, key=settings.backend_key, timeout_s=settings.backend_timeout_s
        )
        self._batcher = Batcher(
            self._moderate, max_items=settings.backend_batch, num_workers=_NUM_REQUESTS
        )
        self._asked = settings.model or _MODEL
        self.model = self._asked

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        return await self._batcher.ask(texts)

    async def close(self) -> None:
        await self._remote.close()

    async def _moderate(self, batch: list[str]) -> list[Judged]:
        answer = await self._remote.post("/v1/moderations", {"model": self._asked, "input": batch})
        try:
            judged = [_judged(result) for result in answer["results"]]
            self.model = str(answer["model"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._remote.broken("answered in another shape than OpenAI's") from error
        if len(judged) != len(batch):
            raise self._remote.broken(f"judged {len(judged)} of {len(batch)} texts")
        return judged


def _judged(result: Mapping[str, Any]) -> Judged:
    scores, flags = result["category_scores"], result["categories"]
    given = {name: float(scores[name]) for name in CATEGORIES if scores.get(name) is not None}
    return Judged(scores=given, flagged=tuple(name for name in CATEGORIES if flags.get(name)))
