"""Our classifier, in this process, on one core.

Windows are scored one by one: the loop stays free between two of them, so that no long text holds up
the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from moderation import policy
from moderation.backends.backend import Judged
from moderation.categories import SCORED
from moderation.classifier import load
from moderation.settings import ModerationSettings


class OnnxBackend:
    """Raises Refused where the classifier cannot be loaded."""

    scored = SCORED
    thresholds: Mapping[str, float] = dict.fromkeys(SCORED, policy.FLAG)

    def __init__(self, settings: ModerationSettings) -> None:
        self._classifier = load(settings)
        self.model = self._classifier.model
        # One thread: the encoder has its own, and two texts at once only slow each other down.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        return [await self._score(text) for text in texts]

    async def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    async def _score(self, text: str) -> Judged:
        run = asyncio.get_running_loop().run_in_executor
        windows = await run(self._thread, self._classifier.windows, text)
        scored = [
            await run(self._thread, self._classifier.score_window, window) for window in windows
        ]
        worst = {name: max(scores[name] for scores in scored) for name in SCORED}
        return Judged(scores=worst, num_windows=len(windows))
