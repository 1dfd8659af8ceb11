"""How alike two texts are, by their words. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def words(text: str) -> list[str]:
    """In lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_1(one: str, other: str) -> float:
    """F1 of the words, each as often as it stands there."""
    mine, yours = words(one), words(other)
    both = (Counter(mine) & Counter(yours)).total()
    return _f1(both, mine, yours)


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words."""
    mine, yours = words(one), words(other)
    return _f1(_longest_common(mine, yours), mine, yours)


def _f1(both: int, mine: Sequence[str], yours: Sequence[str]) -> float:
    return 2 * both / (len(mine) + len(yours)) if both else 0.0


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    lengths = [0] * (len(other) + 1)  # with the words of `one` so far, by how much of `other`
    for word in one:
        before = 0
        for place, same in enumerate(other, start=1):
            above = lengths[place]
            lengths[place] = before + 1 if word == same else max(above, lengths[place - 1])
            before = above
    return lengths[-1]
