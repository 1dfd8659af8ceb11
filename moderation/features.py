"""What the network sees of a window: the encoder's pooled vector, the lexicon's counts, the typing.

Shapes: P of the encoder's pooled vector, G groups of the lexicon, E = 2 G + 2 counted, F = P + E.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moderation import lexicon
from moderation.encoder import POOLED

Floats = npt.NDArray[np.float32]

NUM_EXTRA = 2 * len(lexicon.GROUPS) + 2
NUM_FEATURES = POOLED + NUM_EXTRA


def joined(pooled_P: Floats, text: str) -> Floats:
    """(F,) of one window."""
    return np.concatenate([pooled_P, typed(text)])


def typed(text: str) -> Floats:
    """(E,) what can be counted without the encoder."""
    found = lexicon.words(text)
    counts_G = lexicon.counts(found)
    letters = max(1, sum(map(str.isalpha, text)))
    shouted = sum(map(str.isupper, text)) / letters
    exclaimed = min(1.0, text.count("!") / 3)
    typed_E: Floats = np.concatenate(
        [
            np.log1p(counts_G),
            counts_G / np.sqrt(len(found) + 5.0),  # dense in a short text, rare in a long one
            np.array([shouted, exclaimed], dtype=np.float32),
        ]
    ).astype(np.float32)
    return typed_E
