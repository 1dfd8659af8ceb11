"""Any sequence classifier of transformers, in this process: also those that vLLM does not serve.

torch and transformers are loaded here and nowhere else, when this backend is chosen. B windows in a
batch, T tokens, C classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from feedback.errors import Refused
from moderation.backends import labels
from moderation.backends.backend import Judged
from moderation.backends.batching import Batcher
from moderation.settings import ModerationSettings

_MAX_TOKENS = 512
_OVERLAP = 8  # of a window, with the one before


class HfClassifier:
    """Raises Refused where there is no such model, or its labels mean nothing."""

    def __init__(self, settings: ModerationSettings) -> None:
        folder = Path(settings.model)
        if not settings.model or not (folder / "config.json").is_file():
            raise Refused(
                f"HONE_MODERATION_MODEL: no model in {settings.model!r}; give the folder of a "
                "sequence classifier (config.json, model.safetensors, tokenizer.json)."
            )
        self._labels = labels.read(settings)
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise Refused(
                "HONE_MODERATION_BACKEND=hf needs torch and transformers: pip install 'hone-llm[train]'"
            ) from error
        torch.set_num_threads(settings.threads)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._model: Any = model.to(self._device).eval()
        self._max_tokens = _max_tokens(self._tokenizer, model.config)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")
        self._batcher = Batcher(self._in_thread, max_items=settings.backend_batch)
        self.model = folder.resolve().name

    @property
    def scored(self) -> tuple[str, ...]:
        return self._labels.scored

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self._labels.thresholds

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        run = asyncio.get_running_loop().run_in_executor
        cut = [await run(self._thread, self._windows, text) for text in texts]
        flat = await self._batcher.ask([window for windows in cut for window in windows])
        return labels.gather(flat, counts=[len(windows) for windows in cut])

    async def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _windows(self, text: str) -> list[list[int]]:
        """Token ids, special ones included, in overlapping windows that the model reads."""
        encoded = self._tokenizer(
            [text],
            truncation=True,
            max_length=self._max_tokens,
            stride=self._max_tokens // _OVERLAP,
            return_overflowing_tokens=True,
        )
        windows: list[list[int]] = encoded["input_ids"]
        return windows

    async def _in_thread(self, batch: list[list[int]]) -> list[dict[str, float]]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, batch)

    def _classify(self, batch: list[list[int]]) -> list[dict[str, float]]:
        padded = self._tokenizer.pad({"input_ids": batch}, return_tensors="pt", verbose=False)
        with self._torch.inference_mode():
            logits_BC = self._model(**padded.to(self._device)).logits
        return [self._labels.scores(logits_C) for logits_C in logits_BC.float().tolist()]


def _max_tokens(tokenizer: Any, config: Any) -> int:
    """Tokens of a window, special ones included."""
    positions = getattr(config, "max_position_embeddings", None) or _MAX_TOKENS
    if "roberta" in config.model_type:
        positions -= config.pad_token_id + 1  # RoBERTa's begin behind the padding's
    return int(min(positions, tokenizer.model_max_length, _MAX_TOKENS))
