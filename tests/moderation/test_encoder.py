from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from moderation import encoder
from moderation.encoder import (
    DIMENSIONS,
    OVERLAP_TOKENS,
    WINDOW_TOKENS,
    Encoder,
    Vectors,
    cut,
)


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 228, 229, 1000, 4096])
def test_windows_hold_every_token_and_overlap(length: int) -> None:
    windows = [range(first, last) for first, last in cut(length)]
    assert sorted({token for window in windows for token in window}) == list(range(length))
    assert all(len(window) <= WINDOW_TOKENS - 2 for window in windows)
    for left, right in zip(windows, windows[1:], strict=False):
        assert len(set(left) & set(right)) >= OVERLAP_TOKENS
        assert len(right) == WINDOW_TOKENS - 2


def test_a_window_has_the_text_of_its_tokens() -> None:
    text = " ".join(f"Word{number}" for number in range(200))
    windows = Encoder().windows(text)
    assert len(windows) > 2
    assert all(window.text in text for window in windows)
    assert windows[0].text.startswith("Word0 ")
    assert windows[-1].text.endswith("199")


def test_the_vocabulary_is_berts() -> None:
    # The digest of vocab.txt as Google and the hub publish it: another one would shift every id.
    vocabulary = Path(encoder.__file__).with_name("vocab.txt").read_bytes()
    assert hashlib.sha256(vocabulary).hexdigest() == (
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    )


def _mean(model: Encoder, text: str) -> Vectors:
    mean_D = model.pooled(model.windows(text)[0])[:DIMENSIONS]
    return mean_D / np.linalg.norm(mean_D)


def test_like_texts_have_like_vectors() -> None:
    model = Encoder()
    bread, loaf, stocks = (
        _mean(model, text)
        for text in ("How do I bake bread?", "What is the recipe for a loaf?", "Stocks fell today.")
    )
    assert bread @ loaf > 0.5 > 0.2 > bread @ stocks


def test_special_tokens_typed_by_a_user_are_ordinary_text() -> None:
    model = Encoder()
    (window,) = model.windows("[SEP][CLS]")
    assert not {101, 102} & set(window.ids)
