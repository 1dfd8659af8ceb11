"""Every labeler's own figures, from the log to Redis."""

from __future__ import annotations

import pytest
import redis.asyncio

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.labeling import own_figures
from feedback.quality import kept, own
from tests.feedback.quality.test_judged import ranking


async def test_labelers_see_how_far_they_agree_and_nothing_is_done_twice(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    with connect(redis_url) as client:
        assert own.refresh(client) == 0
        for number in range(6):
            for labeler in ("lab_a", "lab_b"):
                event = ranking(
                    f"fbk_{number}{labeler}", "b", "ac", labeler=labeler, source="labeler"
                )
                for candidate in event.body["candidates"]:
                    candidate["completion_id"] = f"chatcmpl-{number}"
                eventlog.append(client, event)
        assert own.main() == 0  # what the worker runs
        assert own_figures.through(client) == eventlog.last_entry(client, "feedback")
        assert own.refresh(client) == 0
        async with redis.asyncio.Redis.from_url(redis_url) as other:
            figures = await own_figures.read(other, "lab_a")
            assert await own_figures.read(other, "lab_c") is None
        assert figures is not None
        assert figures.num_judged == 6
        assert figures.agreement is not None
        assert figures.agreement.value == 1.0
        assert 0.5 < figures.agreement.low < figures.agreement.high <= 1.0
        assert client.hlen(keys.OWN_FIGURES) == 2


async def test_the_console_s_report_is_kept_and_made_anew_once_it_is_old(redis_url: str) -> None:
    with connect(redis_url) as client:
        eventlog.append(client, ranking("fbk_1", "a", "b", "c", labeler="key_1", source="key"))
        own.refresh(client)
        async with redis.asyncio.Redis.from_url(redis_url) as other:
            made = await kept.read(other)
            assert made is not None
            assert [person["name"] for person in made["people"]] == ["key_1"]
            assert kept.made(client) == made["made"]
            kept.write(client, {**made, "made": made["made"] - 1_000})  # nobody judged meanwhile
            own.refresh(client)
            assert kept.made(client) > made["made"]


def test_nobody_but_labelers_and_keys_is_named_in_what_is_kept(redis_url: str) -> None:
    sources = {"lab_a": "labeler", "key_1": "key", "canary-ann": "key", "canary-vis": "end_user"}
    with connect(redis_url) as client:
        for number, (name, source) in enumerate(sources.items()):
            event = ranking(f"fbk_{number}", "a", "b", "c", labeler=name, source=source)
            eventlog.append(client, event)
        own.refresh(client)
        data = client.get(keys.QUALITY_REPORT)
    assert isinstance(data, bytes)
    assert b"canary" not in data
    assert all(name in data for name in (b"lab_a", b"key_1", b"somebody "))
