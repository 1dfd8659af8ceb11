from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from feedback import keys
from feedback.assignments import Assignments
from feedback.events import Choice, Completion
from feedback.journal import Journal
from feedback.settings import FeedbackSettings


@pytest.fixture
async def journal(redis_url: str, tmp_path: Path) -> AsyncIterator[Journal]:
    settings = FeedbackSettings(redis_url=redis_url, outbox_path=tmp_path / "outbox.sqlite")
    opened = Journal(settings)
    await opened.start()
    yield opened
    await opened.close()


async def offer(journal: Journal, name: str, *, tenant: str = "t", num_blocked: int = 0) -> None:
    choices = [
        Choice(
            index=i,
            text=f"answer {i}",
            token_ids=[i],
            logprobs=[-1.0],
            finish_reason="stop",
            blocked=i < num_blocked,
        )
        for i in range(4)
    ]
    completion = Completion(
        id=name,
        created=1.0,
        key_id="key",
        tenant=tenant,
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "hi"}]},
        prompt_ids=[1],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
    )
    await journal.append(completion)
    await journal.redis.rpush(keys.rankable(tenant), name)


async def taken(assignments: Assignments, labeler: str, tenant: str = "t") -> str | None:
    assignment = await assignments.next(labeler=labeler, tenant=tenant)
    return assignment.completion.id if assignment is not None else None


async def test_two_labelers_get_different_sets_and_each_keeps_theirs(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=60)
    await offer(journal, "one")
    await offer(journal, "two")
    assert await taken(assignments, "ann") == "one"
    assert await taken(assignments, "bob") == "two"
    assert await taken(assignments, "ann") == "one"
    assert await taken(assignments, "bob") == "two"
    assert await taken(assignments, "eve") is None


async def test_a_lease_that_ran_out_goes_to_the_next(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=0.05)
    await offer(journal, "one")
    assert await taken(assignments, "ann") == "one"
    time.sleep(0.06)
    assert await taken(assignments, "bob") == "one"


async def test_a_judged_set_is_shown_to_nobody(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=60)
    await offer(journal, "one")
    await taken(assignments, "ann")
    await assignments.finish("one", labeler="ann", tenant="t")
    assert await taken(assignments, "ann") is None
    assert await taken(assignments, "bob") is None
    assert await assignments.depth(tenant="t") == 0


async def test_a_skipped_set_is_shown_to_others(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=60)
    await offer(journal, "one")
    await taken(assignments, "ann")
    await assignments.skip("one", labeler="ann")
    assert await taken(assignments, "ann") is None
    assert await taken(assignments, "bob") == "one"


async def test_another_tenants_sets_are_not_shown(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=60)
    await offer(journal, "one", tenant="other")
    assert await taken(assignments, "ann") is None


async def test_the_order_is_shuffled_and_the_same_after_a_reload(journal: Journal) -> None:
    assignments = Assignments(journal, lease_s=60)
    orders = set()
    for number in range(12):
        await offer(journal, f"set-{number}")
        first = await assignments.next(labeler=f"ann-{number}", tenant="t")
        again = await assignments.next(labeler=f"ann-{number}", tenant="t")
        assert first is not None
        assert again is not None
        assert first.choices == again.choices
        orders.add(tuple(choice.index for choice in first.choices))
    assert len(orders) > 3


async def test_withheld_answers_are_not_shown_and_a_set_without_two_is_dropped(
    journal: Journal,
) -> None:
    assignments = Assignments(journal, lease_s=60)
    await offer(journal, "hardly", num_blocked=3)
    await offer(journal, "mostly", num_blocked=1)
    assignment = await assignments.next(labeler="ann", tenant="t")
    assert assignment is not None
    assert assignment.completion.id == "mostly"
    assert {choice.index for choice in assignment.choices} == {1, 2, 3}
    assert await assignments.depth(tenant="t") == 1
