"""How many judgements of one person stay, so that nobody is more than a share of a dataset. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def limit(persons_by_count: Mapping[int, int], *, share: float, at_least: int) -> int | None:
    """The most judgements that each may keep so that none has more than `share` of what is kept.

    `persons_by_count`: how many persons gave so many judgements. Never under `at_least`: in a small
    dataset a share says little. None: nobody is cut, also where fewer than 1/share persons judge, since
    then somebody always has more.
    """
    persons = sum(persons_by_count.values())
    most = max(persons_by_count, default=0)
    if persons * share < 1 or most <= at_least or _fits(persons_by_count, most, share):
        return None
    low, high = 1, most  # `low` fits, `high` does not: what one may keep grows slower than itself
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(persons_by_count, middle, share) else (low, middle)
    kept = max(low, at_least)
    return kept if kept < most else None


def _fits(persons_by_count: Mapping[int, int], kept_each: int, share: float) -> bool:
    kept = sum(min(count, kept_each) * persons for count, persons in persons_by_count.items())
    return kept_each <= share * kept
