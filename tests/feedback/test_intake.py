from __future__ import annotations

import pytest

from feedback import eventlog
from feedback.assignments import Assignments
from feedback.connection import connect
from feedback.errors import Unavailable
from feedback.events import Choice, Completion, new_id
from feedback.intake import Caller, Intake
from feedback.journal import Journal
from feedback.judgements import Rating
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer
from tests.small_disk import SmallDisk

CALLER = Caller(key_id="key_1", tenant="t", is_labeler=False)


async def test_a_judgement_that_nothing_took_is_not_acknowledged_when_it_is_sent_again(
    redis_server: RedisServer, small_disk: SmallDisk
) -> None:
    outbox = small_disk.folder / "outbox.sqlite"
    journal = Journal(FeedbackSettings(redis_url=redis_server.url, outbox_path=outbox))
    intake = Intake(journal, Assignments(journal, lease_s=60))
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
