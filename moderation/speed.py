"""Latency, throughput and memory of the classifier on one core: what `hone moderation bench` runs."""

from __future__ import annotations

import resource
import statistics
import time
from typing import Any

from moderation.classifier import Classifier

# Pieces of the encoder: every one of these words is one.
_WORDS = ("the", "old", "house", "on", "hill", "was", "sold", "to", "a", "young", "doctor", "who")
LENGTHS = (16, 64, 128)  # tokens, [CLS] and [SEP] included
NUM_RUNS = 60
NUM_SHORT = 300


def bench(scorer: Classifier) -> dict[str, Any]:
    """Wall time of single texts, and texts per second of processor time, on one thread."""
    latency = {}
    for length in LENGTHS:
        text = _text(length - 2)
        latency[str(length)] = _latency(scorer, text)
    texts = [f"{_text(12)} {number}" for number in range(NUM_SHORT)]
    started = time.process_time()
    scorer.score_many(texts, num_threads=1)
    spent_s = time.process_time() - started
    return {
        "latency_ms": latency,
        "short_texts_per_core_second": round(NUM_SHORT / spent_s, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _latency(scorer: Classifier, text: str) -> dict[str, float]:
    scorer.score(text)
    wall, processor = [], []
    for _ in range(NUM_RUNS):
        before = time.perf_counter(), time.process_time()
        scorer.score(text)
        wall.append(time.perf_counter() - before[0])
        processor.append(time.process_time() - before[1])
    return {
        "p50": round(1000 * statistics.median(wall), 2),
        "p50_processor": round(1000 * statistics.median(processor), 2),
    }


def _text(num_words: int) -> str:
    return " ".join(_WORDS[index % len(_WORDS)] for index in range(num_words))
