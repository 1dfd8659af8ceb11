from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.training.moderation.said import said
from training.moderation.labels import HELDOUT_SHARE, is_heldout


@given(st.text())
def test_case_and_spacing_do_not_change_a_text_s_side(text: str) -> None:
    assert is_heldout(text) == is_heldout(f"  {text.casefold()}\n")


def test_about_a_quarter_is_held_out() -> None:
    share = sum(is_heldout(row.text) for row in said()) / len(said())
    assert abs(share - HELDOUT_SHARE) < 0.1
