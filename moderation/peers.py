"""What an offline user would install else: alt-profanity-check and hatesonar, where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moderation.figures import Floats

Scorer = Callable[[Sequence[str]], Floats]


def available() -> tuple[dict[str, Scorer], dict[str, str]]:
    """Name -> scorer of those that run here, and name -> why not of the others."""
    scorers: dict[str, Scorer] = {}
    absent: dict[str, str] = {}
    for name, make in _PEERS.items():
        try:
            scorer = make()
            scorer(["a test"])
        # A peer's pickle may fail in any way under a newer scikit-learn; the report says how.
        except Exception as error:  # noqa: BLE001
            absent[name] = f"{type(error).__name__}: {error}"[:200]
        else:
            scorers[name] = scorer
    return scorers, absent


def _profanity_check() -> Scorer:
    predict = importlib.import_module("profanity_check").predict_prob
    return lambda texts: np.asarray(predict(list(texts)), dtype=np.float64)


def _hatesonar() -> Scorer:
    sonar = importlib.import_module("hatesonar").Sonar()

    def score(texts: Sequence[str]) -> Floats:
        found = []
        for text in texts:
            classes = sonar.ping(text=text)["classes"]
            by_class = {one["class_name"]: one["confidence"] for one in classes}
            found.append(1.0 - by_class["neither"])
        return np.array(found, dtype=np.float64)

    return score


_PEERS: Mapping[str, Callable[[], Scorer]] = {
    "alt-profanity-check": _profanity_check,
    "hatesonar": _hatesonar,
}
