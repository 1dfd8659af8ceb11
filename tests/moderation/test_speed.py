from __future__ import annotations

from moderation.classifier import Classifier
from moderation.speed import LENGTHS, _text, bench


def test_the_texts_of_the_bench_are_as_long_as_they_say(classifier: Classifier) -> None:
    for length in LENGTHS:
        (window,) = classifier.windows(_text(length - 2))
        assert len(window.ids) + 2 == length


def test_a_report_has_latency_throughput_and_memory(classifier: Classifier) -> None:
    report = bench(classifier)
    assert set(report["latency_ms"]) == {str(length) for length in LENGTHS}
    assert min(report["short_texts_per_core_second"], report["peak_memory_mb"]) > 0
