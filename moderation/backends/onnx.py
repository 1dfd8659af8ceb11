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
from moderation.classifier import Classifier, load
from moderation.encoder import Encoder
from moderation.settings import ModerationSettings


class OnnxBackend:
    """A classifier and the thread that it scores in."""

    scored = SCORED
    thresholds: Mapping[str, float] = dict.fromkeys(SCORED, policy.FLAG)

    def __init__(self, classifier: Classifier, thread: ThreadPoolExecutor) -> None:
        self.model = classifier.model
        self._classifier = classifier
        self._thread = thread

    @classmethod
    def open(cls, settings: ModerationSettings) -> OnnxBackend:
        """Raises Refused where the classifier cannot be loaded."""
        # One thread: the encoder has its own, and two texts at once only slow each other down.
        return cls(load(settings), ThreadPoolExecutor(max_workers=1, thread_name_prefix="score"))

    @property
    def encoder(self) -> Encoder:
        return self._classifier.encoder

    def beside(self, classifier: Classifier) -> OnnxBackend:
        """Another version, in the same thread: the encoder is shared."""
        return OnnxBackend(classifier, self._thread)

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
