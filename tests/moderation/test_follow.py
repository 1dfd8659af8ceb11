"""Real servers that follow a real registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from feedback.connection import connect
from moderation.classifier import Classifier
from moderation.versions import Versions
from tests.conftest import RedisServer
from tests.moderation import server
from tests.moderation.made import PROBES, write_version


@pytest.fixture
def versions(redis_url: str) -> Versions:
    return Versions(connect(redis_url))


@pytest.fixture
def url(redis_url: str, versions: Versions, tmp_path: Path) -> Iterator[str]:
    with server.running(tmp_path, REDIS_URL=redis_url) as running:
        yield running


def judged(url: str) -> tuple[str, float]:
    """(model, score of violence) of one answer."""
    answer: dict[str, Any] = httpx2.post(f"{url}/v1/moderations", json={"input": PROBES[1]}).json()
    return answer["model"], answer["results"][0]["category_scores"]["violence"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_promoted_version_judges_and_a_roll_back_brings_the_old_one_back(
    url: str, versions: Versions, classifier: Classifier, tmp_path: Path
) -> None:
    before = judged(url)
    record = write_version(tmp_path / "v", classifier.encoder, number=1, limit_shift=3.0)
    versions.add(record)
    versions.promote(record.version, by="key_op")
    until(lambda: judged(url)[0] == record.version)
    assert judged(url)[1] < before[1]
    versions.roll_back(by="key_op")
    until(lambda: judged(url) == before)


def test_no_answer_is_of_two_versions_while_they_change(
    url: str, versions: Versions, classifier: Classifier, tmp_path: Path
) -> None:
    record = write_version(tmp_path / "v", classifier.encoder, number=1, limit_shift=3.0)
    versions.add(record)
    seen = set()
    deadline = time.monotonic() + 60
    while len({model for model, *_ in seen}) < 2 or len(seen) < 2:
        assert time.monotonic() < deadline
        answer = httpx2.post(f"{url}/v1/moderations", json={"input": [PROBES[1]] * 8}).json()
        scores = {result["category_scores"]["violence"] for result in answer["results"]}
        assert len(scores) == 1
        seen.add((answer["model"], *scores))
        versions.promote(record.version, by="key_op")
    assert len(seen) == 2  # each model has its one score


def test_what_cannot_be_loaded_is_not_served_and_counted(
    url: str, versions: Versions, classifier: Classifier, tmp_path: Path
) -> None:
    before = judged(url)
    record = write_version(tmp_path / "v", classifier.encoder, number=1, limit_shift=3.0)
    versions.add(replace(record, digest="0" * 64))
    versions.promote(record.version, by="key_op")
    counted = 'hone_moderation_swaps_total{outcome="refused"} 1.0'
    until(lambda: counted in httpx2.get(f"{url}/metrics").text)
    assert judged(url) == before


def test_a_server_that_comes_late_begins_with_what_is_wanted(
    redis_url: str, versions: Versions, classifier: Classifier, tmp_path: Path
) -> None:
    record = write_version(tmp_path / "v", classifier.encoder, number=1, limit_shift=3.0)
    versions.add(record)
    versions.promote(record.version, by="key_op")
    with server.running(tmp_path, REDIS_URL=redis_url) as late:
        assert judged(late)[0] == record.version


def test_while_redis_is_away_what_serves_goes_on(classifier: Classifier, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        versions = Versions(connect(redis.url))
        record = write_version(tmp_path / "v", classifier.encoder, number=1, limit_shift=3.0)
        with server.running(tmp_path, REDIS_URL=redis.url) as url:
            on_board = judged(url)[0]
            redis.stop(kill=True)
            time.sleep(1.2)  # two looks
            assert judged(url)[0] == on_board
            redis.start()
            versions.add(record)
            versions.promote(record.version, by="key_op")
            until(lambda: judged(url)[0] == record.version)
    finally:
        redis.stop()
