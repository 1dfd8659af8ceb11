from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.events import Completion
from feedback.snapshots.pool import PromptPool
from feedback.snapshots.rules import Rules
from feedback.snapshots.staging import Staging
from tests.feedback.snapshots.log import completion


def pooled(
    folder: Path, completions: list[Completion], *, max_prompts: int, per_user: int = 200
) -> tuple[list[int], PromptPool]:
    """Numbers of the prompts that stay."""
    rules = Rules(heldout_share=0.0, max_prompts=max_prompts, max_prompts_per_user=per_user)
    with Staging(folder) as staging:
        pool = PromptPool(staging, rules)
        for each in completions:
            pool.take(each)
        pool.prune()
        kept = [seq for (seq,) in staging.rows("SELECT seq FROM prompts ORDER BY seq")]
    return [completions[seq - 1].prompt_ids[1] for seq in kept], pool


def by(user: str, *numbers: int) -> list[Completion]:
    return [completion(number, end_user=user) for number in numbers]


def test_a_sample_holds_as_many_as_wanted_and_every_prompt_has_the_same_chance(
    tmp_path: Path,
) -> None:
    everybody = [completion(n, end_user=f"user-{n}") for n in range(2_000)]
    kept, pool = pooled(tmp_path, everybody, max_prompts=500)
    assert len(kept) == 500
    assert 190 < sum(n < 1_000 for n in kept) < 310  # early and late ones
    assert pool.num_offered - sum(pool.removed.values()) == 500


def test_the_order_in_which_they_were_asked_and_how_often_does_not_matter(tmp_path: Path) -> None:
    everybody = [completion(n, end_user=f"user-{n}") for n in range(600)]
    first, _ = pooled(tmp_path, everybody, max_prompts=100)
    again = [*everybody, *everybody[:200]]
    random.Random(1).shuffle(again)
    second, pool = pooled(tmp_path, again, max_prompts=100)
    assert set(first) == set(second)
    assert pool.removed["same_prompt"] > 0


def test_a_user_with_very_many_prompts_takes_no_room_from_the_others(tmp_path: Path) -> None:
    busy = by("busy", *range(10_000, 13_000))
    others = [completion(n, end_user=f"user-{n}") for n in range(60)]
    events = [*busy[:1_500], *others, *busy[1_500:]]
    kept, pool = pooled(tmp_path, events, max_prompts=80, per_user=10)
    assert sum(n < 100 for n in kept) == 60
    assert sum(n >= 10_000 for n in kept) == 10
    assert pool.removed["over_user_cap"] > 1_000


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=120),
    max_prompts=st.integers(1, 30),
    per_user=st.integers(1, 8),
)
def test_no_cap_is_ever_passed_and_every_prompt_is_counted_once(
    tmp_path_factory: object, prompts: list[tuple[int, int]], max_prompts: int, per_user: int
) -> None:
    folder = tmp_path_factory.mktemp("pool")  # type: ignore[attr-defined]
    events = [event for user, number in prompts for event in by(f"user-{user}", number)]
    asker: dict[int, int] = {}
    for user, number in prompts:
        asker.setdefault(number, user)
    kept, pool = pooled(folder, events, max_prompts=max_prompts, per_user=per_user)
    assert len(kept) == len(set(kept)) <= max_prompts
    assert pool.num_offered == len(events) == len(kept) + sum(pool.removed.values())
    if len(set(asker)) < 2 * max_prompts:  # nothing was thrown out in between
        assert max(Counter(asker[number] for number in kept).values(), default=0) <= per_user
