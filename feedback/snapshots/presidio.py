"""Presidio's pattern recognizers, called one by one: no language model, no network, no analyzer around them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REGIONS = (
    "US",
    "GB",
    "DE",
    "FR",
    "ES",
    "IT",
    "IN",
    "BR",
    "AU",
)  # where numbers without a +… may be from


def spans(name: str, text: str, *, least_score: float = 0.0) -> Iterator[tuple[int, int]]:
    """Where a recognizer finds something, by its class's name."""
    recognizer = _recognizer(name)
    for found in recognizer.analyze(text, recognizer.supported_entities):
        if found.score > least_score or found.score == least_score > 0:
            yield found.start, found.end


_recognizers: dict[str, Any] = {}


def _recognizer(name: str) -> Any:
    """A recognizer, made when a text needs it first: importing Presidio takes seconds."""
    if name not in _recognizers:
        with _without_heavy_modules():
            from presidio_analyzer import predefined_recognizers
        recognizer = getattr(predefined_recognizers, name)
        if name == "PhoneRecognizer":
            _recognizers[name] = recognizer(supported_regions=REGIONS)
        elif name == "EmailRecognizer":
            _recognizers[name] = _offline(recognizer)()
        else:
            _recognizers[name] = recognizer()
    return _recognizers[name]


def _offline(email_recognizer: Any) -> Any:
    """The recognizer of e-mail addresses with the list of domains that tldextract brings along."""
    import tldextract

    # By default tldextract fetches the newest list from the network, and writes it to the home folder.
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Offline(email_recognizer):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool:
            return bool(extract(pattern_text.rpartition("@")[2]).top_domain_under_public_suffix)

    return Offline


@contextmanager
def _without_heavy_modules() -> Iterator[None]:
    """Presidio imports spaCy, which imports torch and transformers where it finds them: 300 MB, three seconds.
    The recognizers used here need none of them. Remove when Presidio's recognizers load without spaCy."""
    names = [
        n for n in ("torch", "transformers", "tensorflow", "mxnet", "cupy") if n not in sys.modules
    ]
    absent: dict[str, Any] = dict.fromkeys(names)
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
