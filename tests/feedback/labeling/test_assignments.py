from __future__ import annotations

import asyncio

import pytest

from feedback.errors import Conflict, NotFound
from feedback.journal import Journal
from feedback.labeling.assignments import Assignments, Mix, Worker
from feedback.labeling.queues import Ref
from tests.feedback.conftest import Offer

PLAIN = Mix(known=0.0, at_random=0.0, own_prompts=0.0)
ANN, BOB, EVE = (Worker(labeler=name, tenant="t") for name in ("ann", "bob", "eve"))


def plain(journal: Journal, *, lease_s: float = 60) -> Assignments:
    return Assignments(journal, lease_s=lease_s, mix=PLAIN)


async def taken(assignments: Assignments, worker: Worker) -> str | None:
    assignment = await assignments.next(worker)
    return assignment.given.completion_id if assignment is not None else None


async def test_two_labelers_get_different_sets_and_each_keeps_theirs(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("one")
    await offer("two")
    assert await taken(assignments, ANN) == "one"
    assert await taken(assignments, BOB) == "two"
    assert await taken(assignments, ANN) == "one"
    assert await taken(assignments, BOB) == "two"
    assert await taken(assignments, EVE) is None


async def test_a_lease_that_ran_out_goes_to_the_next(journal: Journal, offer: Offer) -> None:
    assignments = plain(journal, lease_s=0.05)
    await offer("one")
    assert await taken(assignments, ANN) == "one"
    await asyncio.sleep(0.06)
    assert await taken(assignments, BOB) == "one"


async def test_a_lease_that_is_renewed_does_not_run_out(journal: Journal, offer: Offer) -> None:
    assignments = plain(journal, lease_s=0.5)
    await offer("one")
    assignment = await assignments.next(ANN)
    assert assignment is not None
    for _ in range(4):
        await asyncio.sleep(0.2)
        await assignments.renew(assignment.id, labeler="ann")
    assert await taken(assignments, BOB) is None
    with pytest.raises(NotFound):
        await assignments.renew(assignment.id, labeler="bob")
    await asyncio.sleep(0.6)
    assert await taken(assignments, BOB) == "one"
    with pytest.raises(Conflict):
        await assignments.renew(assignment.id, labeler="ann")


async def test_a_judged_set_is_shown_to_nobody(journal: Journal, offer: Offer) -> None:
    assignments = plain(journal)
    await offer("one")
    await taken(assignments, ANN)
    await assignments.finish("one", task="rank", labeler="ann", tenant="t")
    assert await taken(assignments, ANN) is None
    assert await taken(assignments, BOB) is None
    assert await assignments.depth(tenant="t") == 0


async def test_a_set_that_three_shall_judge_goes_to_three_and_no_more(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("one", wanted=3)
    assert [await taken(assignments, worker) for worker in (ANN, BOB)] == ["one", "one"]
    await assignments.finish("one", task="rank", labeler="ann", tenant="t")
    await assignments.finish(
        "one", task="rank", labeler="ann", tenant="t"
    )  # sent twice: one of three
    assert await taken(assignments, ANN) is None
    assert await taken(assignments, EVE) == "one"
    assert await taken(assignments, Worker(labeler="dan", tenant="t")) is None
    for labeler in ("bob", "eve"):
        await assignments.finish("one", task="rank", labeler=labeler, tenant="t")
    assert await assignments.depth(tenant="t") == 0


async def test_a_skipped_set_is_shown_to_others_until_several_have_skipped_it(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("one")
    for worker in (ANN, BOB, EVE):
        assignment = await assignments.next(worker)
        assert assignment is not None
        await assignments.skip(assignment.given)
        assert await taken(assignments, worker) is None
    assert await assignments.depth(tenant="t") == 0


async def test_what_is_most_wanted_comes_first_then_the_oldest(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("old")
    await offer("new")
    await offer("unsure", priority=0.3)
    await offer("very unsure", priority=0.9)
    order = []
    while (name := await taken(assignments, ANN)) is not None:
        order.append(name)
        await assignments.finish(name, task="rank", labeler="ann", tenant="t")
    assert order == ["very unsure", "unsure", "old", "new"]


async def test_a_share_is_drawn_at_random_from_all_that_waits(
    journal: Journal, offer: Offer
) -> None:
    assignments = Assignments(journal, lease_s=60, mix=Mix(known=0, at_random=1, own_prompts=0))
    for number in range(30):
        await offer(f"set-{number}", priority=1 - number / 100)
    workers = [Worker(labeler=f"w{number}", tenant="t") for number in range(10)]
    drawn = [await taken(assignments, worker) for worker in workers]
    assert len(set(drawn)) == 10
    assert drawn != [f"set-{number}" for number in range(10)]


async def test_another_tenants_sets_are_not_shown(journal: Journal, offer: Offer) -> None:
    await offer("one", tenant="other")
    assert await taken(plain(journal), ANN) is None


async def test_the_order_is_shuffled_and_the_same_after_a_reload(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    orders = set()
    for number in range(12):
        await offer(f"set-{number}")
        worker = Worker(labeler=f"ann-{number}", tenant="t")
        first = await assignments.next(worker)
        again = await assignments.next(worker)
        assert first is not None
        assert again is not None
        assert (first.id, first.shown) == (again.id, again.shown)
        orders.add(tuple(answer.index for answer in first.shown))
    assert len(orders) > 3


async def test_withheld_answers_are_not_shown_and_a_set_without_two_is_dropped(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("hardly", num_blocked=3)
    await offer("mostly", num_blocked=1)
    assignment = await assignments.next(ANN)
    assert assignment is not None
    assert assignment.given.completion_id == "mostly"
    assert {answer.index for answer in assignment.shown} == {1, 2, 3}
    assert await assignments.depth(tenant="t") == 1


async def test_answers_of_several_completions_are_one_set(journal: Journal, offer: Offer) -> None:
    assignments = plain(journal)
    await offer("new", task=None, num_choices=2)
    await offer("old", task=None, num_choices=1)
    refs = [Ref(completion_id=name, index=i) for name, i in (("new", 0), ("new", 1), ("old", 0))]
    await assignments.queues.offer("rank", "new", tenant="t", refs=refs)
    assignment = await assignments.next(ANN)
    assert assignment is not None
    shown = {(answer.completion_id, answer.index) for answer in assignment.shown}
    assert shown == {("new", 0), ("new", 1), ("old", 0)}


async def test_an_untested_labeler_gets_the_known_answers_first_each_once(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("ordinary")
    for name in ("known-1", "known-2"):
        known = await offer(name, task=None)
        await assignments.known.add(known, [[2], [0, 1], [3]], by="op")
    new = Worker(labeler="new", tenant="t", is_screened=False)
    seen = []
    for _ in range(3):
        assignment = await assignments.next(new)
        again = await assignments.next(new)
        assert assignment is not None
        assert again is not None
        assert again.id == assignment.id
        seen.append((assignment.given.completion_id, assignment.given.is_known))
        await assignments.let_go(assignment.given)
    assert seen == [("known-1", True), ("known-2", True), ("ordinary", False)]
    assert (
        await taken(assignments, ANN) is None
    )  # "ordinary" is with the new one; nothing is mixed in


async def test_known_answers_are_mixed_in_for_those_who_have_not_seen_them(
    journal: Journal, offer: Offer
) -> None:
    assignments = Assignments(journal, lease_s=60, mix=Mix(known=1, at_random=0, own_prompts=0))
    await assignments.known.add(await offer("known", task=None), [[2], [0, 1], [3]], by="op")
    await offer("ordinary")
    first = await assignments.next(ANN)
    assert first is not None
    assert first.given.is_known
    await assignments.finish("known", task="rank", labeler="ann", tenant="t")
    assert await taken(assignments, ANN) == "ordinary"


async def test_a_demonstration_has_a_prompt_or_one_of_the_three_kinds(
    journal: Journal, offer: Offer
) -> None:
    assignments = plain(journal)
    await offer("a prompt", task="demonstrate", num_choices=1)
    given = await assignments.next(ANN, task="demonstrate")
    assert given is not None
    assert given.messages == [{"role": "user", "content": "hi"}]
    assert given.shown == []  # not what the model said to it
    await assignments.finish("a prompt", task="demonstrate", labeler="ann", tenant="t")
    kinds = set()
    for _ in range(40):
        own = await assignments.next(ANN, task="demonstrate")
        assert own is not None
        kinds.add(own.given.kind)
        assert own.messages == []
        await assignments.let_go(own.given)
    assert kinds == {"plain", "few_shot", "user_based"}
