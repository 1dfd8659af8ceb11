"""An erased end user, searched for byte by byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import redis

from feedback import eventlog, keys, stored
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.erasure import people
from feedback.erasure.people import Erased
from feedback.errors import NotFound
from feedback.events import Completion, Event, Feedback, id_of
from feedback.journal import Journal
from feedback.outbox import Outbox
from feedback.settings import FeedbackSettings
from tests.conftest import RedisServer
from tests.feedback.archive.logs import archiver, completion, fill, judgement, read, settings
from tests.feedback.test_journal import until_drained
from tests.feedback.test_stored import everything

CANARY = "the-canary-sings-at-noon"
EVE: dict[str, Any] = {"end_user": "eve"}


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with connect(redis_server.url) as opened:
        # Texts as they are, not compressed: else the search would not see them.
        opened.config_set("aof-use-rdb-preamble", "no")
        opened.config_set("rdbcompression", "no")
        yield opened


@pytest.fixture
def given(redis_server: RedisServer, tmp_path: Path) -> FeedbackSettings:
    return settings(redis_server.url, tmp_path)


@pytest.fixture
async def journal(given: FeedbackSettings) -> AsyncIterator[Journal]:
    opened = Journal(given)
    await opened.start()
    yield opened
    await opened.close()


def files_with(folder: Path, text: str = CANARY) -> set[str]:
    """The files below a folder that hold a text; Parquet is compressed, so its rows are looked at too."""
    found = set()
    for path in folder.rglob("*"):
        try:
            held = path.read_bytes() if path.is_file() else b""
            if path.suffix == ".parquet":
                held += str(pq.read_table(path).to_pylist()).encode()
        except FileNotFoundError:
            continue  # Redis has just removed it
        if text.encode() in held:
            found.add(path.relative_to(folder).parts[0])
    return found


def no_file_with(folder: Path, *, within_s: float = 10) -> bool:
    """Redis removes an old file in the background."""
    deadline = time.monotonic() + within_s
    while found := files_with(folder):
        if time.monotonic() > deadline:
            raise AssertionError(found)
        time.sleep(0.05)
    return True


def erase(client: redis.Redis, given: FeedbackSettings, *, user: str = "eve") -> Erased:
    return people.erase(client, Archive.of(given), given, tenant="t", user=user)


def sing(**changes: Any) -> Completion:
    """One of eve's, with the canary in its prompt, its answer and its metadata."""
    return completion(f"{CANARY} ♪", metadata={"k": CANARY}, **{**EVE, **changes})


def said(about: Completion | None, **changes: Any) -> Feedback:
    body = {"completion_id": about.id if about else "", "thumb": "up", "note": CANARY}
    return judgement(about, **{"body": body, **changes})


async def test_no_byte_of_an_erased_user_is_left_and_others_keep_all(
    client: redis.Redis,
    given: FeedbackSettings,
    journal: Journal,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    old, old_other = sing(), completion("mine", end_user="bob")
    noted = said(old, form="rating")
    bare = judgement(old, form="ranking", body={"tiers": [["a"], ["b"]], "note": ""})
    fill(client, old, old_other, noted, bare)
    archiver(client, given).run()
    young, young_other = sing(), completion("mine too", end_user="bob")
    own_words = said(None, form="demonstration", labeler="eve", source="end_user")
    of_a_labeler = judgement(None, labeler="eve", source="labeler", body={"note": "another eve"})
    same_name = completion("not hers", tenant="another", end_user="eve")
    for event in (young, young_other, own_words, of_a_labeler, said(young), same_name):
        await journal.append(event)
    client.hset(keys.STORED_METADATA, young.id, orjson.dumps({"k": CANARY}))
    client.hset(keys.KNOWN_ANSWERS, young.id, "{}")
    client.zadd(keys.queue("t", "rank"), {young.id: 1})
    client.hset(keys.queued("rank", young.id), "wanted", 1)
    kept = orjson.dumps({"id": young.id, "text": CANARY})
    client.hset(keys.idempotency("key_1", "x"), mapping={"status": 200, "body": kept})
    client.config_set("slowlog-log-slower-than", "0")
    client.echo(CANARY)
    client.config_set("slowlog-log-slower-than", "10000")

    assert CANARY in everything(client)
    assert CANARY in str(client.slowlog_get(100))
    assert {"redis", "archive"} <= files_with(tmp_path)
    assert await journal.get("completions", young.id) == young

    done = erase(client, given)

    assert CANARY not in everything(client)
    assert CANARY not in str(client.slowlog_get(100))
    assert no_file_with(tmp_path)
    assert done.completions == {old.id, young.id}
    assert len(done.judgements) == 3
    assert done.about == {bare.id}
    assert (done.kept_answers, done.left_archive) == (1, 2)
    assert done.files == {"aof": "rewritten", "rdb": "there is none", "slowlog": "emptied"}
    assert read(client, given) == [old_other.id, young_other.id, same_name.id]
    assert read(client, given, "feedback") == [bare.id, of_a_labeler.id]
    async with asyncio.timeout(5):
        while await journal.get("completions", young.id):  # from memory
            await asyncio.sleep(0.05)
    for gone in (old, young):
        with pytest.raises(NotFound):
            await stored.get(journal, gone.id, tenant="t")
    assert await stored.get(journal, old_other.id, tenant="t") == old_other
    page = await stored.page(journal, stored.Query(limit=9, metadata={"k": CANARY}), tenant="t")
    assert page.completions == []
    assert client.zcard(keys.queue("t", "rank")) == client.hlen(keys.KNOWN_ANSWERS) == 0

    again = erase(client, given)
    assert again.left_archive == again.kept_answers == 0
    redis_server.stop(kill=True)
    redis_server.start()
    assert CANARY not in everything(client)
    assert read(client, given) == [old_other.id, young_other.id, same_name.id]


async def test_what_waits_in_the_outbox_of_a_gateway_that_is_down_does_not_come_back(
    client: redis.Redis, given: FeedbackSettings, tmp_path: Path
) -> None:
    known, other = sing(), completion("mine", end_user="bob")
    waits = sing()
    with closing(Outbox(given.outbox_path)) as outbox:
        for event in (known, waits, said(known), said(other), said(waits), other):
            outbox.put(event)
    fill(client, known)  # the reply was lost
    assert "outbox.sqlite-wal" in files_with(tmp_path) or "outbox.sqlite" in files_with(tmp_path)
    erase(client, given)
    journal = Journal(given)
    await journal.start()
    later = sing()  # after the erasure she may come back
    await journal.append(later)
    await until_drained(journal)
    await journal.close()
    assert read(client, given) == [other.id, later.id]
    assert [event.completion_ids for _, event in eventlog.read(client, "feedback")] == [[other.id]]  # type: ignore[union-attr]
    assert not given.outbox_path.exists()
    erase(client, given)
    client.xtrim(keys.stream("feedback"), maxlen=0)  # the note about bob's holds it by right
    people.redis_files.rewrite(client)
    assert no_file_with(tmp_path)


def die_in(name: str) -> Callable[..., Any]:
    def die(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt(name)

    return die


@pytest.mark.parametrize(
    "where",
    [
        *("_Erasure.completions", "_Erasure.judgements", "_Erasure.kept_answers"),
        *("purge", "remove_leftovers", "redis_files.rewrite"),
    ],
)
def test_an_erasure_killed_anywhere_is_finished_by_the_next(
    client: redis.Redis,
    given: FeedbackSettings,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, other = sing(), completion("mine", end_user="bob")
    fill(client, old, other, said(old))
    archiver(client, given).run()
    young = sing()
    fill(client, young, said(young))
    with monkeypatch.context() as patch:
        patch.setattr(f"feedback.erasure.people.{where}", die_in(where))
        with pytest.raises(KeyboardInterrupt):
            erase(client, given)
    erase(client, given)
    assert CANARY not in everything(client)
    assert no_file_with(tmp_path)
    assert read(client, given) == [other.id]
    assert read(client, given, "feedback") == []


def test_what_a_killed_archiver_left_behind_is_removed_too(
    client: redis.Redis, given: FeedbackSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, sing(), completion("mine"))
    with monkeypatch.context() as patch:
        patch.setattr("feedback.archive.manifests.Manifests.commit", die_in("commit"))
        with pytest.raises(KeyboardInterrupt):
            archiver(client, given).run()
    assert "archive" in files_with(tmp_path)
    erase(client, given)
    assert no_file_with(tmp_path)
    archiver(client, given).run()
    assert len(read(client, given)) == 1


def test_an_erased_user_in_several_segments_leaves_each_of_them_and_no_other_is_rewritten(
    client: redis.Redis, given: FeedbackSettings, tmp_path: Path
) -> None:
    events: list[Event] = []
    for number in range(900):
        text, who = (CANARY, "eve") if number in (10, 20, 700) else ("mine", "bob")
        events.append(completion(text, end_user=who))
    fill(client, *events)
    archiver(client, given, segment_events=300).run()
    done = erase(client, given)
    assert done.left_archive == 3
    revisions = [segment.revision for segment in Archive.of(given).segments("completions")]
    assert revisions == [2, 1, 2, 1]  # the last one holds nothing
    assert no_file_with(tmp_path)
    assert len(read(client, given)) == 897


async def test_an_erased_archived_completion_is_gone_from_the_files_after_the_next_run(
    client: redis.Redis, given: FeedbackSettings, journal: Journal, tmp_path: Path
) -> None:
    """One completion, as `DELETE /v1/chat/completions/{id}` does it."""
    made = int((time.time() - 1e6) * 1000)
    old = sing(id=id_of("chatcmpl-", made << 80), created=made / 1000)
    young = sing()
    fill(client, old, completion("mine"))
    archiver(client, given).run()
    fill(client, young)
    for event in (old, young):
        await stored.erase(journal, event.id, tenant="t")
    assert CANARY not in everything(client)
    archiver(client, given, later_s=0).run()
    assert people.redis_files.is_due(client, after_s=60, now=time.time() + 61)
    assert not people.redis_files.is_due(client, after_s=60, now=time.time())
    assert people.redis_files.rewrite(client)["aof"] == "rewritten"
    assert not people.redis_files.is_due(client, after_s=0, now=time.time())
    assert no_file_with(tmp_path)
    assert not await journal.append(replace(old))  # a late copy
    assert len(read(client, given)) == 1


async def test_of_an_erased_tenant_nothing_is_left_and_of_others_all(
    client: redis.Redis, given: FeedbackSettings, journal: Journal, tmp_path: Path
) -> None:
    old, other = sing(end_user=None), completion("mine", tenant="another", end_user="eve")
    about_other = judgement(other, tenant="another")
    fill(client, old, said(old, source="labeler", labeler="lab_1"), other, about_other)
    archiver(client, given).run()
    await journal.append(young := sing())
    await journal.append(judgement(young))
    waits = sing()
    done = people.erase(client, Archive.of(given), given, tenant="t", user=None)
    assert done.completions == {old.id, young.id}
    assert len(done.judgements) == 2
    assert not await journal.append(waits)
    assert no_file_with(tmp_path)
    assert CANARY not in everything(client)
    assert read(client, given) == [other.id]
    assert read(client, given, "feedback") == [about_other.id]


def test_an_rdb_file_is_written_anew(
    client: redis.Redis, given: FeedbackSettings, tmp_path: Path
) -> None:
    client.config_set("save", "3600 1")
    fill(client, sing())
    client.save()
    assert (tmp_path / "redis/dump.rdb").read_bytes().count(CANARY.encode())
    assert erase(client, given).files["rdb"] == "written anew"
    assert no_file_with(tmp_path)
