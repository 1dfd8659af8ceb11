"""The archiver on a real Redis and a real folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from feedback import eventlog, keys, removal
from feedback.archive import marks
from feedback.archive.archiver import Archiver
from feedback.archive.lease import Lease, LeaseLost
from feedback.archive.manifests import LostRace, Manifests
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.errors import Refused
from feedback.events import audit, new_id
from feedback.history import History
from feedback.settings import FeedbackSettings
from tests.feedback.archive.logs import archiver, completion, fill, judgement, read, settings


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as opened:
        yield opened


@pytest.fixture
def given(redis_url: str, tmp_path: Path) -> FeedbackSettings:
    return settings(redis_url, tmp_path)


def test_old_events_of_all_kinds_leave_redis_and_are_read_as_before(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    about = completion(end_user="eve", metadata={"a": "b"})
    events = [about, judgement(about), audit("key_1", "promote", version="policy-0001")]
    fill(client, *events)
    before = [list(eventlog.read(client, event.kind)) for event in events]
    assert archiver(client, given).run().num_events == 3
    assert [client.xlen(keys.stream(event.kind)) for event in events] == [0, 0, 0]
    assert [client.hlen(keys.index(event.kind)) for event in events] == [0, 0, 0]
    history = History(client, Archive.of(given))
    assert [list(history.read(event.kind)) for event in events] == before
    assert [history.get(event.kind, event.id) for event in events] == events
    assert history.last_entry("completions") == before[0][0][0]
    assert history.get("completions", new_id("chatcmpl-")) is None


def test_what_is_young_stays_in_redis(client: redis.Redis, given: FeedbackSettings) -> None:
    fill(client, completion())
    assert archiver(client, given, later_s=60).run().num_events == 0
    assert client.xlen(keys.stream("completions")) == 1


def test_events_come_in_order_once_from_several_segments_and_redis_and_from_any_position_on(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    events = [completion(str(number)) for number in range(730)]
    fill(client, *events[:650])
    done = archiver(client, given, segment_events=300).run()
    assert [segment.events for segment in done.segments] == [300, 300, 50]
    fill(client, *events[650:])
    history = History(client, Archive.of(given))
    found = list(history.read("completions"))
    assert [event for _, event in found] == events
    for start in (0, 299, 300, 301, 649, 650, 729):
        after = found[start][0]
        assert list(history.read("completions", after=after)) == found[start + 1 :]
        assert list(history.read("completions", until=after)) == found[: start + 1]
        middle = list(history.read("completions", after=found[100][0], until=after))
        assert middle == found[101 : start + 1]


def test_a_read_goes_on_while_what_it_reads_is_archived(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    events = [completion(str(number)) for number in range(1_050)]
    fill(client, *events)
    reading = History(client, Archive.of(given)).read("completions")
    found = [next(reading) for _ in range(501)]
    archiver(client, given).run()
    found += reading
    assert [event for _, event in found] == events


@pytest.mark.parametrize("killed_after", ["write", "commit", "mark"])
def test_a_killed_run_doubles_and_loses_nothing_and_leaves_nothing(
    client: redis.Redis,
    given: FeedbackSettings,
    killed_after: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    events = [completion(str(number)) for number in range(250)]
    fill(client, *events)
    ids = [event.id for event in events]
    killed = archiver(client, given, segment_events=250)
    where = {"write": "feedback.archive.manifests.Manifests.commit"}
    where["commit"] = "feedback.archive.archiver.marks.move"
    where["mark"] = "feedback.archive.archiver.Archiver._retire"

    def die(*arguments: object, **options: object) -> bool:
        if killed_after == "commit" and "completions:sealed" in arguments:
            return True
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where[killed_after], die)
        with pytest.raises(KeyboardInterrupt):
            killed.run()
    assert read(client, given) == ids
    archiver(client, given, segment_events=250).run()
    assert read(client, given) == ids
    assert client.xlen(keys.stream("completions")) == 0
    names = sorted(path.name for path in (tmp_path / "archive/completions").iterdir())
    assert [name.partition(".")[0] for name in names] == ["00000001", "00000001"]


def test_events_are_sealed_before_their_metadata_is_read(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on `stored.replace_metadata` refuses: what it wrote would not be in the archive."""
    fill(client, *(completion() for _ in range(3)))
    newest = eventlog.last_entry(client, "completions")
    sealed: list[bytes | None] = []
    read_metadata = Archiver._with_metadata

    def look(*arguments: Any) -> Any:
        sealed.append(client.hget(keys.ARCHIVE, "completions:sealed"))
        return read_metadata(*arguments)

    monkeypatch.setattr(Archiver, "_with_metadata", look)
    archiver(client, given).run()
    assert [entry.decode() for entry in sealed if entry] == [newest]


def test_one_archives_at_a_time(client: redis.Redis, given: FeedbackSettings) -> None:
    fill(client, completion())
    lease = Lease.acquire(client)
    assert lease is not None
    assert archiver(client, given).run().is_elsewhere
    assert client.xlen(keys.stream("completions")) == 1
    lease.release()
    assert archiver(client, given).run().num_events == 1


def test_a_zombie_can_neither_commit_a_segment_that_is_there_nor_move_a_mark(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops just before the manifest; meanwhile its lease ends, and another one archives."""
    events = [completion(str(number)) for number in range(10)]
    fill(client, *events)
    zombie = archiver(client, given)
    commit = Manifests.commit

    def sleep_then_commit(self: Manifests, segment: object) -> None:
        monkeypatch.setattr(Manifests, "commit", commit)
        client.delete(keys.ARCHIVE_LEASE)
        assert archiver(client, given).run().num_events == 10
        commit(self, segment)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifests, "commit", sleep_then_commit)
    with pytest.raises(LostRace):
        zombie.run()
    assert read(client, given) == [event.id for event in events]
    assert not marks.move(client, "completions:through", "0-1", token=1)
    lease = Lease.acquire(client, ttl_s=30)
    assert lease is not None
    client.delete(keys.ARCHIVE_LEASE)
    with pytest.raises(LeaseLost):
        lease.renew()


def test_a_retry_of_an_archived_event_is_not_appended_again(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", given.archive_url)
    old = completion(id="chatcmpl-" + "0" * 26, created=0.0)
    fill(client, old)
    archiver(client, given).run()
    assert not eventlog.append(client, old)
    other = replace(old, id="chatcmpl-" + "0" * 25 + "1")
    assert eventlog.append(client, other)
    assert read(client, given) == [old.id, other.id]


def test_an_id_that_the_filter_takes_for_another_is_appended_all_the_same(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", given.archive_url)
    event = completion(id="chatcmpl-unlike-others")
    fill(client, completion())
    archiver(client, given).run()
    marks.forget(client, "completions", [event.id])  # as if all its bits were others'
    assert eventlog.append(client, event)
    assert not eventlog.append(client, event)


def test_an_event_erased_in_redis_while_it_is_archived_does_not_stay_in_the_archive(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = [completion(f"text-{number}") for number in range(10)]
    fill(client, *events)
    commit = Manifests.commit

    def erase_then_commit(self: Manifests, segment: object) -> None:
        monkeypatch.setattr(Manifests, "commit", commit)
        assert removal.erase(
            client, events[3], eventlog.ERASED, replaced_metadata=b"", archived_entry=""
        )
        commit(self, segment)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifests, "commit", erase_then_commit)
    archiver(client, given).run()
    left = [event.id for event in events if event is not events[3]]
    assert read(client, given) == left
    assert archiver(client, given).run().num_erased == 1
    assert read(client, given) == left
    assert client.hlen(keys.ERASE_DUE) == 0
    (segment,) = Archive.of(given).segments("completions")
    assert (segment.events, segment.revision) == (9, 2)
    assert len(list((tmp_path / "archive/completions").iterdir())) == 2


def test_a_reader_in_a_segment_that_is_rewritten_reads_on_in_the_new_one(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    events = [completion(str(number)) for number in range(800)]
    fill(client, *events)
    archiver(client, given, segment_events=400).run()
    reading = History(client, Archive.of(given)).read("completions")
    found = [next(reading)[1].id for _ in range(10)]
    for gone in (events[5], events[700]):
        place = next(e for e, event in History(client, Archive.of(given)).read("completions")
                     if event.id == gone.id)  # fmt: skip
        assert removal.erase(
            client, gone, eventlog.ERASED, replaced_metadata=b"", archived_entry=place
        )
    assert archiver(client, given).run().num_erased == 2
    found += [event.id for _, event in reading]
    ids = [event.id for event in events]
    assert found == [event_id for event_id in ids if event_id != events[700].id]
    assert len(read(client, given)) == 798


def test_metadata_that_was_replaced_goes_into_the_archive(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    event = completion(metadata={"old": "x"})
    fill(client, event)
    client.hset(keys.STORED_METADATA, event.id, b'{"new":"y"}')
    client.zrem(keys.stored_where("t", "metadata.old", "x"), event.id)
    client.zadd(keys.stored_where("t", "metadata.new", "y"), {event.id: 0})
    archiver(client, given).run()
    (found,) = (event for _, event in History(client, Archive.of(given)).read("completions"))
    assert found == replace(event, metadata={"new": "y"})
    assert client.hlen(keys.STORED_METADATA) == 0
    left = {name for name in client.scan_iter() if client.type(name) == b"zset"}
    assert left == set()


def test_memory_over_its_bound_makes_the_oldest_leave_sooner(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    given = settings(redis_url, tmp_path, log_keep_s=10_000_000, log_keep_bytes=1_000_000)
    events = [completion("x" * 10_000) for _ in range(150)]
    fill(client, *events)
    archiver(client, given).run()
    assert 20 < client.xlen(keys.stream("completions")) < 100
    assert client.memory_usage(keys.stream("completions")) < 1_000_000
    assert read(client, given) == [event.id for event in events]


def test_a_new_redis_learns_of_the_archive_that_is_there(
    client: redis.Redis, given: FeedbackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", given.archive_url)
    old = completion(id="chatcmpl-" + "0" * 26)
    fill(client, old)
    archiver(client, given).run()
    client.flushall()
    archiver(client, given).run()
    assert not eventlog.append(client, old)
    assert read(client, given) == [old.id]


def test_the_archive_of_another_redis_is_refused_before_anything_is_forgotten(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    """Its newest event is later than one here: by the positions alone this one would be archived."""
    fill(client, completion())
    client.rename(keys.stream("completions"), "elsewhere")
    time.sleep(0.01)  # not the same millisecond, which would be the same entry id
    fill(client, completion())
    archiver(client, given).run()
    client.rename("elsewhere", keys.stream("completions"))
    client.delete(keys.ARCHIVE)
    with pytest.raises(Refused, match="another Redis"):
        archiver(client, given).run()
    assert client.xlen(keys.stream("completions")) == 1


def test_another_archive_than_before_is_refused(
    client: redis.Redis, given: FeedbackSettings, redis_url: str, tmp_path: Path
) -> None:
    fill(client, completion())
    archiver(client, given).run()
    other = settings(redis_url, tmp_path / "other")
    with pytest.raises(Refused, match="HONE_FEEDBACK_ARCHIVE_URL"):
        archiver(client, other).run()


def test_an_event_of_an_old_schema_is_upgraded_when_it_is_read(
    client: redis.Redis, given: FeedbackSettings
) -> None:
    """Schema 2 had no `prompt_of`."""
    event = completion()
    fields = orjson.loads(eventlog.encode(event))
    del fields["prompt_of"]
    data = orjson.dumps(fields | {"schema": 2})
    entry = client.xadd(keys.stream("completions"), {"e": data})
    client.hset(keys.index("completions"), event.id, entry)
    fill(client, completion())
    (segment,) = archiver(client, given).run().segments
    assert segment.schemas == [2, event.schema]
    assert History(client, Archive.of(given)).get("completions", event.id) == event
