"""A sequence classifier that vLLM serves: POST /classify, which has no version in its path.

The logits are asked for, and turned into probabilities here: vLLM takes the softmax unless the model's
config.json names a multi-label problem, and many that are one do not say so. What is too long has to
be cut, and truncation asked for, or vLLM refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moderation.backends import labels
from moderation.backends.backend import Judged
from moderation.backends.batching import Batcher
from moderation.backends.pieces import pieces
from moderation.backends.remote import Remote, served
from moderation.settings import ModerationSettings

_NUM_REQUESTS = 4  # at once: vLLM makes one batch of what is there
_DEFAULT_TOKENS = 512
_SPECIAL_TOKENS = 2  # [CLS] and [SEP]


class VllmClassify:
    """Raises Refused where the labels are not known."""

    def __init__(self, settings: ModerationSettings) -> None:
        self._labels = labels.read(settings)
        self._remote = Remote(
            settings.backend_url, key=settings.backend_key, timeout_s=settings.backend_timeout_s
        )
        self._batcher = Batcher(
            self._classify, max_items=settings.backend_batch, num_workers=_NUM_REQUESTS
        )
        self._served: tuple[str, int | None] | None = None
        self.model = "vllm-classify"

    @property
    def scored(self) -> tuple[str, ...]:
        return self._labels.scored

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self._labels.thresholds

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        if self._served is None:
            self._served = await served(self._remote, prefix="/v1")
            self.model = self._served[0]
        room = (self._served[1] or _DEFAULT_TOKENS) - _SPECIAL_TOKENS
        cut = [pieces(text, max_tokens=room) for text in texts]
        flat = await self._batcher.ask([piece for parts in cut for piece in parts])
        return labels.gather(flat, counts=[len(parts) for parts in cut])

    async def close(self) -> None:
        await self._remote.close()

    async def _classify(self, batch: list[str]) -> list[dict[str, float]]:
        body = {
            "model": self.model,
            "input": batch,
            "truncate_prompt_tokens": -1,  # to what the model reads
            "use_activation": False,
        }
        answer = await self._remote.post("/classify", body)
        try:
            data = sorted(answer["data"], key=lambda item: int(item["index"]))
            if len(data) != len(batch):
                raise self._remote.broken(f"judged {len(data)} of {len(batch)} texts")
            return [self._labels.scores(self._logits(item)) for item in data]
        except (KeyError, TypeError, ValueError) as error:
            raise self._remote.broken("answered in another shape than vLLM's /classify") from error

    def _logits(self, item: dict[str, Any]) -> list[float]:
        logits_C = [float(value) for value in item["probs"]]
        names_C = self._labels.names_C
        if len(logits_C) != len(names_C):
            raise self._remote.broken(f"has {len(logits_C)} labels, and {len(names_C)} are mapped")
        highest = max(range(len(logits_C)), key=logits_C.__getitem__)
        if (said := item.get("label")) is not None and said != names_C[highest]:
            raise self._remote.broken(f"calls {said!r} what is mapped as {names_C[highest]!r}")
        return logits_C
