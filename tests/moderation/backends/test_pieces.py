from __future__ import annotations

import pytest

from moderation.backends.pieces import pieces


def test_a_text_that_fits_is_one_piece() -> None:
    assert pieces("", max_tokens=100) == [""]
    assert pieces("x" * 300, max_tokens=100) == ["x" * 300]


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_every_character_of_a_long_text_is_in_a_piece_that_fits(letter: str) -> None:
    text = "".join(f"{letter}{number}" for number in range(2000))
    cut = pieces(text, max_tokens=100)
    assert all(len(piece.encode()) <= 300 for piece in cut)
    whole = cut[0]
    for piece in cut[1:]:
        overlap = next(size for size in range(len(piece), 0, -1) if whole.endswith(piece[:size]))
        assert overlap >= len(piece) // 16
        whole += piece[overlap:]
    assert whole == text
