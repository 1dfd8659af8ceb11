"""What is to leave Redis, as a table."""

from __future__ import annotations

import pytest

from feedback.archive.plan import YOUNGEST_S, Due, Load, due

DAY = 86_400
NOW = 100 * DAY + 500.0


def load(kind: str, *, events: int, size: int, oldest_s: float) -> Load:
    return Load(kind=kind, num_events=events, num_bytes=size, oldest_ms=int(oldest_s * 1000))


def planned(*loads: Load, keep_bytes: int = 1_000) -> list[Due]:
    return due(loads, now=NOW, keep_s=7 * DAY, every_s=DAY, keep_bytes=keep_bytes)


@pytest.mark.parametrize(
    ("oldest_s", "is_due"),
    [
        (NOW - 6 * DAY, False),
        (93 * DAY, False),  # older than 7 days, and its day is not over yet
        (93 * DAY - 1, True),
        (0.0, True),
    ],
)
def test_a_day_leaves_when_all_of_it_is_old_enough(oldest_s: float, is_due: bool) -> None:
    assert bool(planned(load("audit", events=5, size=10, oldest_s=oldest_s))) is is_due


def test_an_empty_stream_is_never_due() -> None:
    assert planned(load("audit", events=0, size=0, oldest_s=0)) == []


@pytest.mark.parametrize(
    ("sizes", "shed"),
    [
        ((900, 100), {}),
        ((1_000, 200), {"a": 45}),  # 1,200 are 450 over three quarters of 1,000
        ((3_000, 10), {"a": 76}),
        ((800, 800), {"a": 100, "b": 7}),  # 850 of them, first from one kind
    ],
)
def test_over_its_bytes_the_largest_kind_sheds_first_down_to_three_quarters(
    sizes: tuple[int, int], shed: dict[str, int]
) -> None:
    loads = [
        load(kind, events=100, size=size, oldest_s=NOW - 60)
        for kind, size in zip("ab", sizes, strict=True)
    ]
    found = planned(*loads)
    assert {each.kind: each.num_events for each in found} == shed
    assert all(each.never_after_ms == int((NOW - YOUNGEST_S) * 1000) for each in found)
