"""Ways to write a word so that a filter misses it: what `evaluate` tries on harmful texts. Seeded."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

_LEET = str.maketrans("aeiost", "4310$7")
_LOOKALIKES = str.maketrans("aeiopcx", "аеіорсх")
_WORD = re.compile(r"[A-Za-z]{4,}")
_EMOJI = ("🔥", "😂", "💀", "🙃", "👍", "🤡")
_SHARE = 0.5  # of the longer words


def leetspeak(text: str, draw: random.Random) -> str:
    """Digits and signs for letters."""
    return _some(text, draw, lambda word: word.translate(_LEET))


def spacing(text: str, draw: random.Random) -> str:
    """l i k e  t h i s."""
    return _some(text, draw, lambda word: " ".join(word))


def homoglyphs(text: str, draw: random.Random) -> str:
    """Cyrillic letters that look the same."""
    return _some(text, draw, lambda word: word.translate(_LOOKALIKES))


def emoji(text: str, draw: random.Random) -> str:
    """Emoji between the words."""
    return " ".join(
        f"{word} {draw.choice(_EMOJI)}" if draw.random() < 0.3 else word for word in text.split()
    )


STYLES: Mapping[str, Callable[[str, random.Random], str]] = {
    "leetspeak": leetspeak,
    "spacing": spacing,
    "homoglyphs": homoglyphs,
    "emoji": emoji,
}


def _some(text: str, draw: random.Random, change: Callable[[str], str]) -> str:
    return _WORD.sub(
        lambda found: change(found.group()) if draw.random() < _SHARE else found.group(), text
    )
