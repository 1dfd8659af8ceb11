from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.snapshots.caps import limit

counts = st.lists(st.integers(min_value=1, max_value=5_000), max_size=60)
shares = st.floats(min_value=0.01, max_value=1)
floors = st.integers(min_value=0, max_value=300)


@given(counts, shares, floors)
def test_nobody_has_more_than_the_share_or_than_what_no_cap_takes(
    given_by: list[int], share: float, at_least: int
) -> None:
    cap = limit(Counter(given_by), share=share, at_least=at_least)
    if len(given_by) * share < 1:
        assert cap is None  # somebody always has more than the share
        return
    kept = [count if cap is None else min(count, cap) for count in given_by]
    assert max(kept, default=0) <= max(share * sum(kept) * (1 + 1e-9), at_least)


@given(counts, shares, floors)
def test_no_more_is_taken_than_must_be(given_by: list[int], share: float, at_least: int) -> None:
    cap = limit(Counter(given_by), share=share, at_least=at_least)
    if cap is not None:
        assert max(at_least, 1) <= cap < max(given_by)
        kept = [min(count, cap + 1) for count in given_by]
        assert max(kept) > share * sum(kept)


@given(counts, shares, floors)
def test_who_gives_little_loses_nothing_to_who_gives_much(
    given_by: list[int], share: float, at_least: int
) -> None:
    cap = limit(Counter(given_by), share=share, at_least=at_least)
    more = limit(Counter([*given_by, 1_000_000]), share=share, at_least=at_least)
    if cap is not None and more is not None:
        assert more >= cap


@pytest.mark.parametrize(
    ("given_by", "cap"),
    [
        ([100, 100, 100, 100], None),
        ([1_000, 100, 100, 100], 100),
        ([1_000, 100, 100, 100, 100, 100], 166),  # 166 of 666 are a quarter
        ([1_000], None),
        ([], None),
    ],
)
def test_a_quarter_of_the_rankings(given_by: list[int], cap: int | None) -> None:
    assert limit(Counter(given_by), share=0.25, at_least=0) == cap


def test_what_no_cap_takes_stays_where_the_share_would_take_it() -> None:
    given_by = Counter([1_000, 100, 100, 100])
    assert limit(given_by, share=0.25, at_least=200) == 200
    assert limit(given_by, share=0.25, at_least=1_000) is None
