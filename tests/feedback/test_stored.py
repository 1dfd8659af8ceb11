"""Stored chat completions on a real Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from feedback import eventlog, keys, stored
from feedback.connection import connect
from feedback.errors import NotFound, Unavailable
from feedback.events import Choice, Completion, new_id
from feedback.journal import Journal
from feedback.labeling.assignments import Assignments, Worker
from feedback.outbox import Outbox
from feedback.settings import FeedbackSettings
from feedback.stored import Query
from tests.conftest import RedisServer
from tests.feedback.outage import waiting_elsewhere
from tests.feedback.test_journal import until_drained

SECRET = "the-cat-sleeps-under-the-stairs"


@pytest.fixture
async def journal(redis_url: str, tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(FeedbackSettings(redis_url=redis_url, outbox_path=tmp_path / "outbox.sqlite"))
    yield opened
    await opened.close()


def completion(number: int = 0, **changes: Any) -> Completion:
    choices = [
        Choice(index=i, text=SECRET, token_ids=[1], logprobs=[-1.0], finish_reason="stop")
        for i in range(2)
    ]
    event = Completion(
        id=f"chatcmpl-{number:06}",
        created=float(number),
        key_id="key",
        tenant="t",
        endpoint="chat",
        request={"messages": [{"role": "user", "content": SECRET}]},
        prompt_ids=[1],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
    )
    return dataclasses.replace(event, **changes)


async def fill(journal: Journal, *completions: Completion) -> None:
    for event in completions:
        await journal.append(event)


async def ids(journal: Journal, *, tenant: str = "t", **query: Any) -> list[str]:
    """All pages' ids, one after the other."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = await stored.page(
            journal, Query(**{"limit": 3, "after": after, **query}), tenant=tenant
        )
        assert len(page.completions) <= 3
        found += [event.id for event in page.completions]
        if not page.has_more:
            return found
        assert page.cursor != after
        after = page.cursor


def everything(client: redis.Redis) -> str:
    """All that Redis answers with, whatever one asks."""
    read = {
        b"stream": lambda key: client.xrange(key),
        b"hash": lambda key: client.hgetall(key),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": lambda key: client.smembers(key),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"string": lambda key: client.get(key),
    }
    return str([(key, read[client.type(key)](key)) for key in client.scan_iter()])  # type: ignore[index]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 6, 7])
async def test_pages_hold_each_once_in_the_order_of_their_making(
    journal: Journal, number: int
) -> None:
    made = [completion(i) for i in range(number)]
    await fill(journal, *made, completion(90, tenant="other"), completion(91, endpoint="text"))
    assert await ids(journal) == [event.id for event in made]
    assert await ids(journal, is_newest_first=True) == [event.id for event in reversed(made)]


async def test_a_full_page_knows_whether_it_is_the_last(journal: Journal) -> None:
    await fill(journal, *(completion(i, metadata={"a": "b"}) for i in range(3)))
    for query in (Query(limit=3), Query(limit=3, metadata={"a": "b"}, model="policy-0000")):
        assert not (await stored.page(journal, query, tenant="t")).has_more
        shorter = dataclasses.replace(query, limit=2)
        assert (await stored.page(journal, shorter, tenant="t")).has_more


async def test_a_page_goes_on_where_the_last_one_ended_though_its_end_was_erased(
    journal: Journal,
) -> None:
    await fill(journal, *(completion(i) for i in range(5)))
    first = await stored.page(journal, Query(limit=2), tenant="t")
    for event in first.completions:
        await stored.erase(journal, event.id, tenant="t")
    second = await stored.page(journal, Query(limit=2, after=first.cursor), tenant="t")
    assert [event.created for event in second.completions] == [2.0, 3.0]


async def test_filters_find_what_has_all_of_it(journal: Journal) -> None:
    for i in range(12):
        metadata = {"screen": "home" if i % 2 else "shop", "third": str(i % 3)}
        version = f"policy-000{i % 4}"
        await fill(journal, completion(i, metadata=metadata, version=version))
    assert await ids(journal, model="policy-0003") == [
        "chatcmpl-000003", "chatcmpl-000007", "chatcmpl-000011",
    ]  # fmt: skip
    assert len(await ids(journal, metadata={"screen": "home"})) == 6
    assert await ids(journal, metadata={"screen": "home", "third": "0"}) == [
        "chatcmpl-000003", "chatcmpl-000009",
    ]  # fmt: skip
    query: dict[str, Any] = {"model": "policy-0001", "metadata": {"screen": "home", "third": "0"}}
    assert await ids(journal, **query) == ["chatcmpl-000009"]
    assert await ids(journal, metadata={"third": "0"}, tenant="other") == []
    assert await ids(journal, metadata={"screen": ""}) == []


async def test_a_page_is_not_empty_while_there_is_one_to_be_found(
    redis_url: str, journal: Journal
) -> None:
    """30,000 completions have one of two pairs; the first and the last have both."""
    both = {"a": "1", "b": "1"}
    await fill(journal, completion(0, metadata=both), completion(900_000, metadata=both))
    client = connect(redis_url)
    for key, first in (("a", 1), ("b", 2)):
        listed = {f"chatcmpl-{2 * i + first:06}": 0 for i in range(30_000)}
        client.zadd(keys.stored_where("t", f"metadata.{key}", "1"), listed)
    client.close()
    query = Query(limit=5, metadata=both)
    first_page = await stored.page(journal, query, tenant="t")
    assert [found.created for found in first_page.completions] == [0]
    assert first_page.has_more  # it did not look through all of them
    query = dataclasses.replace(query, after=first_page.completions[-1].id)
    last_page = await stored.page(journal, query, tenant="t")
    assert [found.created for found in last_page.completions] == [900_000]


async def test_replaced_metadata_is_read_and_found_and_the_old_is_not(journal: Journal) -> None:
    await fill(journal, completion(1, metadata={"old": "x", "kept": "y"}), completion(2))
    changed = await stored.replace_metadata(
        journal, "chatcmpl-000001", {"kept": "y", "new": "z"}, tenant="t"
    )
    assert changed.metadata == {"kept": "y", "new": "z"}
    assert await stored.get(journal, "chatcmpl-000001", tenant="t") == changed
    (first, _) = (await stored.page(journal, Query(limit=5), tenant="t")).completions
    assert first == changed
    assert await ids(journal, metadata={"old": "x"}) == []
    assert await ids(journal, metadata={"kept": "y", "new": "z"}) == ["chatcmpl-000001"]
    await stored.replace_metadata(journal, "chatcmpl-000001", {}, tenant="t")
    assert await ids(journal, metadata={"kept": "y"}) == []
    assert await ids(journal) == ["chatcmpl-000001", "chatcmpl-000002"]


async def test_of_many_replacements_at_once_one_counts_and_the_lists_agree_with_it(
    journal: Journal,
) -> None:
    await fill(journal, completion(1))
    names = [str(number) for number in range(4)]
    await asyncio.gather(
        *(
            stored.replace_metadata(journal, "chatcmpl-000001", {"by": name}, tenant="t")
            for name in names
        )
    )
    kept = (await stored.get(journal, "chatcmpl-000001", tenant="t")).metadata["by"]
    found = [name for name in names if await ids(journal, metadata={"by": name})]
    assert found == [kept]


async def test_what_is_erased_is_nowhere_in_redis(redis_url: str, journal: Journal) -> None:
    client = connect(redis_url)
    await fill(journal, completion(1, metadata={"a": SECRET}))
    await stored.replace_metadata(journal, "chatcmpl-000001", {"b": SECRET}, tenant="t")
    assignments, ann = Assignments(journal, lease_s=60), Worker(labeler="ann", tenant="t")
    await assignments.queues.offer("rate", "chatcmpl-000001", tenant="t")
    assert await assignments.next(ann, task="rate") is not None
    assert SECRET in everything(client)
    await stored.erase(journal, "chatcmpl-000001", tenant="t")
    assert SECRET not in everything(client)
    assert not client.exists(keys.queue("t", "rate"), keys.queued("rate", "chatcmpl-000001"))
    assert await assignments.next(ann, task="rate") is None
    assert await journal.get("completions", "chatcmpl-000001") is None
    assert await ids(journal) == await ids(journal, metadata={"b": SECRET}) == []
    for ask in (stored.get, stored.erase):
        with pytest.raises(NotFound):
            await ask(journal, "chatcmpl-000001", tenant="t")
    client.close()


async def test_a_copy_that_an_outbox_kept_does_not_bring_an_erased_text_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    event = completion(1, id=new_id("chatcmpl-"))
    settings = FeedbackSettings(redis_url=redis_server.url, outbox_path=tmp_path / "o.sqlite")
    first = Journal(settings.model_copy(update={"outbox_path": tmp_path / "other.sqlite"}))
    await first.append(event)
    with closing(Outbox(settings.outbox_path)) as outbox:
        outbox.put(event)  # the reply was lost, so it went to the outbox as well
    await stored.erase(first, event.id, tenant="t")
    await first.close()
    second = Journal(settings)
    await second.start()
    async with asyncio.timeout(10):
        while second.depth():
            await asyncio.sleep(0.05)
    await second.close()
    client = connect(redis_server.url)
    assert SECRET not in everything(client)
    assert eventlog.get(client, "completions", event.id) is None
    client.close()


async def test_another_tenants_and_a_text_completion_are_not_found(journal: Journal) -> None:
    await fill(journal, completion(1, tenant="other"), completion(2, endpoint="text"))
    for known in ("chatcmpl-000001", "chatcmpl-000002", "chatcmpl-unknown"):
        with pytest.raises(NotFound):
            await stored.get(journal, known, tenant="t")
        with pytest.raises(NotFound):
            await stored.replace_metadata(journal, known, {}, tenant="t")
        with pytest.raises(NotFound):
            await stored.erase(journal, known, tenant="t")
    assert (await stored.get(journal, "chatcmpl-000001", tenant="other")).created == 1.0


async def test_a_filter_cannot_spell_the_key_of_another_tenant(journal: Journal) -> None:
    await fill(journal, completion(1, tenant="a:b", version="policy-0001"))
    assert await ids(journal, tenant="b", model="policy-0001:a") == []
    assert await ids(journal, tenant="a:b", model="policy-0001") == ["chatcmpl-000001"]


async def test_one_that_waits_in_the_outbox_is_found_before_it_is_in_the_log(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = FeedbackSettings(redis_url=redis_server.url, outbox_path=tmp_path / "o.sqlite")
    journal = Journal(settings)  # not started: nothing drains
    redis_server.stop()
    await journal.append(completion(1))
    with pytest.raises(redis.ConnectionError):
        await stored.get(journal, "chatcmpl-000001", tenant="t")
    redis_server.start()
    assert (await stored.get(journal, "chatcmpl-000001", tenant="t")).created == 1.0
    await journal.close()


async def test_what_waits_in_another_gateways_outbox_is_not_said_to_be_unknown(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Who would delete it would take it for gone, and then it would come."""
    answer = completion(id=new_id("chatcmpl-"))
    async with waiting_elsewhere(answer, redis_server, tmp_path) as (answering, asked):
        with pytest.raises(Unavailable, match="on its way"):
            await stored.erase(asked, answer.id, tenant="t")
        await answering.start()
        await until_drained(answering, timeout_s=15)
        await stored.erase(asked, answer.id, tenant="t")
        with pytest.raises(NotFound):
            await stored.get(asked, answer.id, tenant="t")
