from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from feedback import eventlog, keys
from feedback.callers import Caller
from feedback.connection import connect
from feedback.errors import NotFound, Unavailable, Unprocessable
from feedback.events import Choice, Completion, Feedback, decode, id_of, new_id
from feedback.intake import Intake
from feedback.journal import Journal
from feedback.judgements import Comment, Comparison, Ranking, Rating, Skip
from feedback.labeling.aftermath import Aftermath
from feedback.labeling.assignments import Assignments, Worker
from feedback.labeling.labelers import Labelers
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer
from tests.feedback.conftest import a_set
from tests.feedback.outage import waiting_elsewhere
from tests.feedback.test_journal import until_drained
from tests.small_disk import SmallDisk

CALLER = Caller(key_id="key_1", tenant="t", is_labeler=False)
LABELER = replace(CALLER, is_labeler=True)


async def test_a_judgement_that_nothing_took_is_not_acknowledged_when_it_is_sent_again(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    outbox = small_disk.folder / "outbox.sqlite"
    journal = Journal(FeedbackSettings(redis_url=redis_server.url, outbox_path=outbox))
    intake = an_intake(journal)
    completion = an_answer()
    await journal.append(completion)
    rating = Rating.model_validate({"completion_id": completion.id, "index": 0, "likert": 5})
    redis_server.stop()
    small_disk.fill()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await intake.accept(rating, CALLER, idempotency_key="k")
    redis_server.start()
    receipts = [await intake.accept(rating, CALLER, idempotency_key="k") for _ in range(2)]
    assert [receipt.is_replay for receipt in receipts] == [False, True]
    found = [event.id for _, event in eventlog.read(connect(redis_server.url), "feedback")]
    assert found == [receipts[0].event.id]
    await journal.close()


async def test_an_answer_that_waits_in_another_gateways_outbox_is_asked_for_again_and_judged_then(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    completion = an_answer()
    rating = Rating.model_validate({"completion_id": completion.id, "index": 0, "likert": 5})
    async with waiting_elsewhere(completion, redis_server, tmp_path) as (answering, judging):
        intake = an_intake(judging)
        with pytest.raises(Unavailable, match="on its way"):
            await intake.accept(rating, CALLER)
        an_old_id = id_of("chatcmpl-", 1 << 80)
        with pytest.raises(NotFound):
            await intake.accept(rating.model_copy(update={"completion_id": an_old_id}), CALLER)
        await answering.start()
        await until_drained(answering, timeout_s=15)
        assert (await intake.accept(rating, CALLER)).event.completion_ids == [completion.id]


async def test_imported_answers_to_different_prompts_are_not_compared(
    journal: Journal,
) -> None:
    """They have no token ids."""
    intake = an_intake(journal)
    one, same, other = (
        replace(
            an_answer(), prompt_ids=[], request={"messages": [{"role": "user", "content": text}]}
        )
        for text in ("is it?", "is it?", "was it?")
    )
    for completion in (one, same, other):
        await journal.append(completion)

    async def compare(a: Completion, b: Completion) -> None:
        sides = {"a": {"completion_id": a.id}, "b": {"completion_id": b.id}}
        await intake.accept(Comparison.model_validate({**sides, "preference": 1}), CALLER)

    await compare(one, same)
    with pytest.raises(Unprocessable, match="different prompts"):
        await compare(one, other)


async def test_a_changed_judgement_says_what_it_replaces_and_both_stay(journal: Journal) -> None:
    intake, completion = an_intake(journal), an_answer()
    await journal.append(completion)
    first, second, other = [
        (await intake.accept(a_rating(completion, likert, labeler), CALLER)).event
        for likert, labeler in ((2, "ann"), (6, "ann"), (3, "bob"))
    ]
    assert (first.replaces, second.replaces, other.replaces) == (None, first.id, None)
    assert await logged(journal) == [first, second, other]


async def test_two_metrics_of_one_answer_and_two_comments_do_not_replace_each_other(
    journal: Journal,
) -> None:
    intake, completion = an_intake(journal), an_answer()
    await journal.append(completion)
    about = {"completion_id": completion.id}
    judgements = [
        *(Rating.model_validate({**about, "metrics": {name: 1.0}}) for name in ("speed", "style")),
        Rating.model_validate({**about, "thumb": "up"}),
        *(Comment.model_validate({**about, "text": text}) for text in ("good", "quite good")),
        Rating.model_validate({**about, "metrics": {"speed": 2.0}}),
    ]
    events = [(await intake.accept(judgement, CALLER)).event for judgement in judgements]
    assert [event.replaces for event in events] == [None] * 5 + [events[0].id]


async def test_what_is_taken_back_is_said_once_and_only_by_who_said_it(journal: Journal) -> None:
    intake, completion = an_intake(journal), an_answer()
    await journal.append(completion)
    said = (await intake.accept(a_rating(completion, 2), CALLER)).event
    stranger = replace(CALLER, tenant="other")
    visitor = replace(CALLER, source="end_user", person="v1")
    for caller in (stranger, visitor):
        with pytest.raises(NotFound):
            await intake.retract(said.id, caller)
    taken_back = [await intake.retract(said.id, CALLER) for _ in range(2)]
    assert {event.id for event in taken_back} == {taken_back[0].id}
    assert [event.form for event in await logged(journal)] == ["rating", "retraction"]
    with pytest.raises(Unprocessable):
        await intake.retract(taken_back[0].id, CALLER)


async def test_a_visitor_judges_answers_to_their_own_questions_in_their_own_name(
    journal: Journal,
) -> None:
    intake = an_intake(journal)
    theirs = replace(an_answer(), end_user="v1")
    anothers = replace(an_answer(), end_user="v2")
    for completion in (theirs, anothers):
        await journal.append(completion)
    visitor = replace(CALLER, source="end_user", person="v1")
    event = (await intake.accept(a_rating(theirs, 5), visitor)).event
    assert (event.source, event.labeler) == ("end_user", "v1")
    with pytest.raises(NotFound):
        await intake.accept(a_rating(anothers, 5), visitor)
    with pytest.raises(Unprocessable):
        await intake.accept(a_rating(theirs, 5, "v2"), visitor)


async def test_a_judgement_of_other_answers_than_were_given_is_refused(journal: Journal) -> None:
    intake, assignments = an_intake(journal), Assignments(journal, lease_s=60)
    given, other = an_answer(), an_answer()
    for completion in (given, other):
        await journal.append(completion)
    await assignments.queues.offer("rate", given.id, tenant="t")
    assignment = await assignments.next(Worker(labeler="ann", tenant="t"), task="rate")
    assert assignment is not None
    for completion, is_right in ((other, False), (given, True)):
        rating = a_rating(completion, 4, "ann", assignment_id=assignment.id)
        if not is_right:
            with pytest.raises(Unprocessable):
                await intake.accept(rating, LABELER)
    event = (await intake.accept(rating, LABELER)).event
    assert event.assignment_id == assignment.id
    assert await assignments.depth(tenant="t", task="rate") == 0


async def test_undo_gives_the_work_again_with_what_was_said_until_a_snapshot_has_used_it(
    journal: Journal,
) -> None:
    intake, assignments = an_intake(journal), Assignments(journal, lease_s=60)
    ann = replace(LABELER, source="labeler", person="lab_ann")
    worker = Worker(labeler="lab_ann", tenant="t")
    for likert in (3, 4):
        completion = an_answer()
        await journal.append(completion)
        await assignments.queues.offer("rate", completion.id, tenant="t")
        assignment = await assignments.next(worker, task="rate")
        assert assignment is not None
        rating = a_rating(completion, likert, assignment_id=assignment.id)
        await intake.accept(rating, ann)
    undone = await intake.undo(ann)
    assert undone is not None
    again, said = undone
    assert said.body["likert"] == 4
    assert again.completion_id == completion.id
    shown = await assignments.next(worker, task="rate")
    assert shown is not None
    assert shown.given.completion_id == completion.id
    await journal.redis.set(keys.JUDGEMENTS_TRAINED, "99999999999999-0")
    assert await intake.undo(ann) is None
    forms = [event.form for event in await logged(journal)]
    assert forms == ["rating", "rating", "retraction"]


async def test_a_known_answer_judged_in_screening_counts_for_the_labeler(journal: Journal) -> None:
    intake, assignments = an_intake(journal), Assignments(journal, lease_s=60)
    labelers = Labelers(journal.redis)
    token = await labelers.invite(by="op", tenant="t")
    ann = await labelers.join(token, name="Ann", password="correct horse battery")
    completion = a_set("known", num_choices=3)
    await journal.append(completion)
    await assignments.known.add(completion, [[2], [1], [0]], by="op")
    assignment = await assignments.next(Worker(labeler=ann.id, tenant="t", is_screened=False))
    assert assignment is not None
    order = [answer.index for answer in assignment.shown]
    tiers = sorted(("abc"[order.index(index)], index) for index in order)
    ranking = Ranking.model_validate(
        {
            "candidates": [{"completion_id": "known", "index": index} for index in order],
            "tiers": [[letter] for letter, _ in sorted(tiers, key=lambda pair: -pair[1])],
            "assignment_id": assignment.id,
        }
    )
    caller = Caller(key_id=ann.id, tenant="t", is_labeler=True, source="labeler", person=ann.id)
    await intake.accept(ranking, caller)
    tested = await labelers.get(ann.id)
    assert tested is not None
    assert (tested.num_screened, tested.screen_agreed, tested.screen_pairs) == (1, 3.0, 3)
    assert await intake.undo(caller) is None  # a test is not taken twice


async def test_a_skip_is_kept_with_its_reason_and_others_get_the_work(journal: Journal) -> None:
    intake, assignments = an_intake(journal), Assignments(journal, lease_s=60)
    completion = an_answer()
    await journal.append(completion)
    await assignments.queues.offer("rate", completion.id, tenant="t")
    assignment = await assignments.next(Worker(labeler="ann", tenant="t"), task="rate")
    assert assignment is not None
    for _ in range(2):
        await intake.skip(assignment.given, LABELER, Skip(reason="personal_data"))
    (event,) = await logged(journal)
    assert (event.form, event.labeler, event.body["reason"]) == ("skip", "ann", "personal_data")
    assert await assignments.next(Worker(labeler="ann", tenant="t"), task="rate") is None
    assert await assignments.next(Worker(labeler="bob", tenant="t"), task="rate") is not None


def a_rating(
    completion: Completion,
    likert: int,
    labeler: str | None = None,
    *,
    assignment_id: str | None = None,
) -> Rating:
    return Rating(
        completion_id=completion.id, likert=likert, labeler=labeler, assignment_id=assignment_id
    )


async def logged(journal: Journal) -> list[Feedback]:
    rows = await journal.redis.xrange(keys.stream("feedback"))
    return [cast(Feedback, decode("feedback", fields[b"e"])) for _, fields in rows]


def an_intake(journal: Journal) -> Intake:
    assignments = Assignments(journal, lease_s=60)
    aftermath = Aftermath(journal, assignments, Labelers(journal.redis))
    return Intake(journal, aftermath, on_new=lambda said: None)


def an_answer() -> Completion:
    choice = Choice(index=0, text="yes", token_ids=[1], logprobs=[-0.1], finish_reason="stop")
    return Completion(
        id=new_id("chatcmpl-"),
        created=0.0,
        key_id=CALLER.key_id,
        tenant=CALLER.tenant,
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "is it?"}]},
        prompt_ids=[1, 2],
        choices=[choice],
        version="policy-0000",
        version_last="policy-0000",
        digest="d" * 64,
        latency_ms=1.0,
    )
