"""What the gateway finds of what has left Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from feedback import keys, stored
from feedback.callers import Caller
from feedback.connection import connect
from feedback.errors import Conflict, NotFound, Unavailable
from feedback.events import Completion
from feedback.journal import Journal
from feedback.judgements import Rating
from feedback.outbox import Outbox
from feedback.settings import FeedbackSettings
from tests.feedback.archive.logs import archiver, completion, fill, judgement, read, settings
from tests.feedback.test_intake import an_intake
from tests.feedback.test_journal import until_drained


@pytest.fixture
def given(redis_url: str, tmp_path: Path) -> FeedbackSettings:
    return settings(redis_url, tmp_path)


@pytest.fixture
async def journal(given: FeedbackSettings) -> AsyncIterator[Journal]:
    opened = Journal(given)
    yield opened
    await opened.close()


def archive(given: FeedbackSettings, *events: Completion) -> None:
    with connect(given.redis_url) as client:
        fill(client, *events)
        assert archiver(client, given).run().num_events == len(events)


async def test_an_archived_completion_is_retrieved_judged_and_erased(
    journal: Journal, given: FeedbackSettings, tmp_path: Path
) -> None:
    others = [completion(f"other-{number}") for number in range(3)]
    event = completion("the-cat-sleeps", metadata={"a": "b"})
    archive(given, *others[:2], event, *others[2:])
    assert await stored.get(journal, event.id, tenant="t") == event
    with pytest.raises(NotFound):
        await stored.get(journal, event.id, tenant="another")

    intake = an_intake(journal)
    caller = Caller(key_id="key_1", tenant="t", is_labeler=True)
    await intake.accept(Rating(completion_id=event.id, thumb="up"), caller)
    with pytest.raises(NotFound):
        await intake.accept(Rating(completion_id="chatcmpl-none", thumb="up"), caller)

    await stored.erase(journal, event.id, tenant="t")
    for ask in (stored.get, stored.erase):
        with pytest.raises(NotFound):
            await ask(journal, event.id, tenant="t")
    assert await journal.get("completions", event.id) is None
    with connect(given.redis_url) as client:
        assert read(client, given) == [other.id for other in others]
        assert archiver(client, given).run().num_erased == 1
        assert read(client, given) == [other.id for other in others]


async def test_metadata_of_an_archived_completion_stays(
    journal: Journal, given: FeedbackSettings
) -> None:
    event = completion()
    archive(given, event)
    with pytest.raises(Conflict, match="archived"):
        await stored.replace_metadata(journal, event.id, {"a": "b"}, tenant="t")


async def test_metadata_changes_no_more_once_its_completion_is_sealed(
    journal: Journal, given: FeedbackSettings
) -> None:
    """The archiver has read it, and has not written it yet."""
    event, next_one = completion(), completion()
    with connect(given.redis_url) as client:
        fill(client, event, next_one)
        entry = client.hget(keys.index("completions"), event.id)
        client.hset(keys.ARCHIVE, "completions:sealed", entry)
    with pytest.raises(Conflict, match="archived"):
        await stored.replace_metadata(journal, event.id, {"a": "b"}, tenant="t")
    changed = await stored.replace_metadata(journal, next_one.id, {"a": "b"}, tenant="t")
    assert changed.metadata == {"a": "b"}


async def test_what_left_redis_is_listed_no_more(journal: Journal, given: FeedbackSettings) -> None:
    archive(given, completion())
    young = completion()
    await journal.append(young)
    page = await stored.page(journal, stored.Query(limit=5), tenant="t")
    assert [found.id for found in page.completions] == [young.id]


async def test_an_outbox_that_comes_late_doubles_nothing_that_was_archived(
    redis_url: str, given: FeedbackSettings
) -> None:
    known = [completion(id=f"chatcmpl-{'0' * 25}{number}", created=1.0) for number in range(3)]
    late = completion(id="chatcmpl-" + "0" * 25 + "9", created=1.0)
    said = judgement(late, created=1.0)
    archive(given, *known)
    with closing(Outbox(given.outbox_path)) as outbox:
        for event in (known[0], late, said, known[2]):
            outbox.put(event)
    journal = Journal(given)
    await journal.start()
    await until_drained(journal)
    await journal.close()
    with connect(redis_url) as client:
        assert read(client, given) == [*(event.id for event in known), late.id]
        assert read(client, given, "feedback") == [said.id]


async def test_an_archive_that_cannot_be_read_is_said_so(
    given: FeedbackSettings, tmp_path: Path
) -> None:
    event = completion()
    archive(given, event)
    (parquet,) = (tmp_path / "archive/completions").glob("*.parquet")
    parquet.rename(tmp_path / "elsewhere")
    journal = Journal(given)
    with pytest.raises(Unavailable):
        await stored.get(journal, event.id, tenant="t")
    (tmp_path / "elsewhere").rename(parquet)
    assert await stored.get(journal, event.id, tenant="t") == event
    await journal.close()


def test_nothing_of_an_archived_completion_stays_in_redis(given: FeedbackSettings) -> None:
    with connect(given.redis_url) as client:
        event = completion(metadata={"k": "the-cat-sleeps"}, end_user="eve")
        client.zadd(keys.queue("t", "rank"), {event.id: 0})
        client.hset(keys.queued("rank", event.id), "wanted", "1")
        archive(given, event)
        names = {name.decode() for name in client.scan_iter()}
        assert names <= {
            keys.ARCHIVE,
            keys.ARCHIVE_FENCE,
            keys.stream("completions"),
            keys.archived_ids("completions"),
        }
        assert client.xlen(keys.stream("completions")) == 0
