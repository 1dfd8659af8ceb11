"""Where the files are: a folder, and S3 as moto's server speaks it, over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from feedback import eventlog, removal
from feedback.archive.manifests import LostRace
from feedback.archive.reader import Archive
from feedback.archive.store import Store
from feedback.connection import connect
from feedback.history import History
from feedback.settings import FeedbackSettings
from tests.feedback.archive.logs import archiver, completion, fill, judgement, read, settings


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedbackSettings]:
    """Settings of an archive in an empty bucket."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "testing",
        "secret": "testing",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
    }
    import s3fs

    name = f"bucket-{uuid4()}"  # moto's buckets outlive its server
    s3fs.S3FileSystem(**options).mkdir(name)
    yield FeedbackSettings(archive_url=f"s3://{name}/hone", archive_options=options)
    server.stop()


def stores(folder: Path, given: FeedbackSettings) -> list[Store]:
    return [Store(str(folder / "archive"), {}), Store(given.archive_url, given.archive_options)]


def test_a_small_file_is_written_once_and_the_second_writer_is_refused(
    tmp_path: Path, bucket: FeedbackSettings
) -> None:
    for store in stores(tmp_path, bucket):
        store.put_once("kind/1.json", b"one")
        with pytest.raises(FileExistsError):
            store.put_once("kind/1.json", b"two")
        assert store.read("kind/1.json") == b"one"
        assert store.names("kind") == ["1.json"]
        assert store.names("nothing") == []


def test_a_file_whose_writer_failed_is_not_there_or_half_but_never_whole(
    tmp_path: Path, bucket: FeedbackSettings
) -> None:
    for store in stores(tmp_path, bucket):
        with pytest.raises(KeyboardInterrupt):
            fail_in(store)
        with store.create("kind/2.parquet") as file:
            file.write(b"x" * 20_000_000)
        assert store.num_bytes("kind/2.parquet") == 20_000_000
        store.remove("kind/2.parquet")
        store.remove("kind/2.parquet")
        assert "2.parquet" not in store.names("kind")
    assert store.names("kind") == []


def fail_in(store: Store) -> None:
    with store.create("kind/1.parquet") as file:
        file.write(b"x" * 100)
        raise KeyboardInterrupt


def test_what_is_not_there_and_a_store_that_is_away_are_os_errors(
    tmp_path: Path, bucket: FeedbackSettings
) -> None:
    for store in stores(tmp_path, bucket):
        with pytest.raises(FileNotFoundError):
            store.read("kind/none.json")
        with pytest.raises(FileNotFoundError), store.opened("kind/none.parquet"):
            pass
    options = {
        **bucket.archive_options,
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"},
        "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 1}},
    }
    with pytest.raises(OSError, match="."):
        Store("s3://bucket/hone", options).read("kind/1.json")


def test_an_archive_in_a_bucket_is_read_erased_from_and_written_by_one(
    redis_url: str, tmp_path: Path, bucket: FeedbackSettings
) -> None:
    given = settings(redis_url, tmp_path).model_copy(
        update={name: getattr(bucket, name) for name in ("archive_url", "archive_options")}
    )
    events = [completion(f"text {number}") for number in range(600)]
    with connect(redis_url) as client:
        fill(client, *events[:500], judgement(events[0]))
        assert archiver(client, given, segment_events=200).run().num_events == 501
        fill(client, *events[500:])
        assert read(client, given) == [event.id for event in events]
        assert len(read(client, given, "feedback")) == 1
        history = History(client, Archive.of(given))
        assert history.get("completions", events[250].id) == events[250]

        place = next(entry for entry, event in history.read("completions") if event == events[250])
        assert removal.erase(
            client, events[250], eventlog.ERASED, replaced_metadata=b"", archived_entry=place
        )
        assert archiver(client, given).run().num_erased == 1
        left = [event.id for event in events if event is not events[250]]
        assert read(client, given) == left
    archive = Archive.of(given)
    with pytest.raises(LostRace):
        archive.manifests("completions").commit(archive.segments("completions")[0])
    names = archive.store.names("completions")
    assert len(names) == 2 * len(archive.segments("completions"))
