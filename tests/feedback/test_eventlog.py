from __future__ import annotations

import pytest

from feedback import eventlog
from feedback.connection import connect
from feedback.events import Audit, Choice, Completion, decode, encode, new_id


def an_audit(action: str = "promote") -> Audit:
    return Audit(id=new_id("aud_"), created=1.0, actor="key_1", action=action)


def a_completion() -> Completion:
    choice = Choice(
        index=0, text="hi", token_ids=[1, 2], logprobs=[-0.5, -0.1], finish_reason="stop"
    )
    return Completion(
        id=new_id("chatcmpl-"),
        created=1.0,
        key_id="k",
        tenant="t",
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "hello"}]},
        prompt_ids=[5],
        choices=[choice],
        version="policy-0000",
        version_last="policy-0001",
        digest="d",
        latency_ms=3.0,
    )


def test_an_event_sent_twice_is_in_the_log_once(redis_url: str) -> None:
    client = connect(redis_url)
    event = an_audit()
    assert eventlog.append(client, event)
    assert not eventlog.append(client, event)
    assert [found for _, found in eventlog.read(client, "audit")] == [event]


def test_an_event_is_found_by_its_id_and_an_unknown_one_is_not(redis_url: str) -> None:
    client = connect(redis_url)
    event = a_completion()
    eventlog.append(client, event)
    assert eventlog.get(client, "completions", event.id) == event
    assert eventlog.get(client, "completions", "chatcmpl-other") is None


def test_reading_goes_on_after_an_entry_and_across_pages(redis_url: str) -> None:
    client = connect(redis_url)
    events = [an_audit(str(number)) for number in range(1203)]
    for event in events:
        eventlog.append(client, event)
    entries = list(eventlog.read(client, "audit"))
    assert [event for _, event in entries] == events
    assert list(eventlog.read(client, "audit", after=entries[1000][0])) == entries[1001:]
    assert eventlog.last_entry(client, "audit") == entries[-1][0]


def test_an_event_survives_its_encoding() -> None:
    event = a_completion()
    assert decode("completions", encode(event)) == event
    assert event.is_mixed


def test_a_schema_from_the_future_is_refused_with_the_cure() -> None:
    data = encode(an_audit()).replace(b'"schema":1', b'"schema":99')
    with pytest.raises(ValueError, match="upgrade this one"):
        decode("audit", data)


def test_ids_made_later_sort_later() -> None:
    ids = [new_id("fbk_") for _ in range(50)]
    assert len(set(ids)) == 50
    assert sorted(ids, key=lambda i: i[:14]) == ids
