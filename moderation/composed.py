"""Two categories that are never trained, composed of one that is and a word list.

No text about minors, and none of great detail, is in the training data; so the classifier says how
sexual a text is, or how violent, and the lexicon how clearly it speaks of minors, or how bloody it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moderation import lexicon

PARTS: Mapping[str, tuple[str, Callable[[str], float]]] = {
    "sexual/minors": ("sexual", lexicon.minor),
    "violence/graphic": ("violence", lexicon.graphic),
}


def with_composed(scores: Mapping[str, float], text: str) -> dict[str, float]:
    """`scores` and the composed ones: the product of both parts, so that both have to be high."""
    products = {
        name: scores[whole] * part(text) for name, (whole, part) in PARTS.items() if whole in scores
    }
    return {**scores, **products}
