"""A stream that moderation reads: nothing that it blocks reaches the client, however it is cut up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from feedback import eventlog
from serving import auth
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration

Start = Callable[..., Running]
HELLO: Any = [{"role": "user", "content": "hello"}]
BAD = "§"  # stands nowhere else in what a client gets
GOOD = "All is well in the quiet town by the sea. " * 12


def raw(gateway: Running, key: str | None = None, **options: Any) -> str:
    body = {"model": "policy", "messages": HELLO, "stream": True, **options}
    headers = {"authorization": f"Bearer {key or gateway.secret}"}
    url = f"{gateway.url}/v1/chat/completions"
    answer = httpx2.post(url, json=body, headers=headers, timeout=400)
    assert answer.status_code == 200
    return answer.text


def texts_of(gateway: Running, **options: Any) -> list[str]:
    stream = gateway.openai(timeout=400).chat.completions.create(
        model="policy", messages=HELLO, stream=True, **options
    )
    return [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]


@pytest.mark.parametrize("piece_chars", [1, 7, 1000])
@pytest.mark.parametrize("at", [0, 1, 199, 200, 201, 504])
def test_a_blocked_window_never_leaks_whatever_the_chunks(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration, piece_chars: int, at: int
) -> None:
    moderation.word = BAD
    engine.says, engine.piece_chars = GOOD[:at] + BAD + GOOD, piece_chars
    sent = raw(gateway)
    assert BAD not in sent
    assert '"finish_reason":"content_filter"' in sent
    assert '"content_filter_results":{"violence":{"filtered":true}}' in sent
    assert sent.endswith("data: [DONE]\n\n")


def test_what_goes_out_was_read_before_to_the_last_character(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    moderation.word = BAD
    engine.says, engine.piece_chars = GOOD + BAD + GOOD, 1
    shown = "".join(texts_of(gateway))
    assert shown
    assert GOOD.startswith(shown)
    assert any(shown.endswith(text[-50:]) for text in moderation.inputs)


def test_a_word_on_the_border_of_two_windows_is_found(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    moderation.word = "forbidden"
    engine.says, engine.piece_chars = GOOD[:196] + "forbidden" + GOOD, 1  # a window is 200
    assert texts_of(gateway)[-1] == ""
    assert "forbidden" not in raw(gateway)


def test_time_brings_a_window_out_where_it_does_not_fill(
    start_gateway: Start, redis_url: str, engine: FakeEngine, moderation: FakeModeration
) -> None:
    gateway = start_gateway(
        redis_url, engine, moderation_window_chars=100_000, moderation_window_ms=40
    )
    engine.says, engine.piece_chars, engine.chunk_delay_s = GOOD[:100], 1, 0.02
    assert "".join(texts_of(gateway)) == GOOD[:100]
    windows = [text for text in moderation.inputs if text != "hello"]
    assert len(windows) >= 2
    assert windows[0] != GOOD[:100]


def test_a_classifier_that_goes_away_ends_the_stream_before_what_it_has_not_read(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    engine.says, engine.piece_chars, engine.chunk_delay_s = GOOD + BAD, 1, 0.002
    moderation.away_after = 2  # the prompt, and a window
    sent = raw(gateway)
    assert '"content":"A"' in sent
    assert BAD not in sent
    assert "[DONE]" not in sent
    assert "moderation cannot check" in sent.splitlines()[-2]
    metrics = httpx2.get(f"{gateway.url}/metrics").text
    assert 'hone_streams_broken_total{version="policy-0000",why="moderation"} 1.0' in metrics


def test_an_unchecked_stream_says_so(
    start_gateway: Start, redis_url: str, engine: FakeEngine, moderation: FakeModeration
) -> None:
    gateway = start_gateway(redis_url, engine, moderation_required=False)
    moderation.is_away = True
    engine.says = GOOD
    chunks = list(
        gateway.openai().chat.completions.create(model="policy", messages=HELLO, stream=True)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == GOOD
    (said,) = [chunk.moderation for chunk in chunks if chunk.moderation]
    assert (said.input.type, said.output.type) == ("error", "error")
    metrics = httpx2.get(f"{gateway.url}/metrics").text
    assert 'hone_moderation_total{outcome="unscored",stage="completion"}' in metrics


def test_where_the_key_allows_everything_nothing_is_read_and_nothing_waits(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration
) -> None:
    moderation.word, moderation.is_away = BAD, True
    actions: Any = {"prompt": {"all": "allow"}, "completion": {"all": "allow"}}
    secret, key = auth.create_key(gateway.redis, name="free", scopes=("infer",))
    auth.set_moderation(gateway.redis, key.id, actions)
    engine.says = GOOD + BAD
    assert BAD in raw(gateway, secret)
    assert moderation.inputs == []
    ((_, record),) = eventlog.read(gateway.redis, "completions")
    assert record.moderation == {"prompt": {}, "choices": [{}]}  # type: ignore[union-attr]


def test_only_the_blocked_one_of_several_streamed_candidates_is_withheld(
    gateway: Running, moderation: FakeModeration
) -> None:
    moderation.word = "THREE"
    stream = gateway.openai().chat.completions.create(
        model="policy", messages=[{"role": "user", "content": "one two three"}], stream=True, n=2
    )
    ends = {c.choices[0].index: c.choices[0].finish_reason for c in stream if c.choices}
    assert ends == {0: "content_filter", 1: "content_filter"}


@pytest.mark.parametrize("is_bad", [False, True])
def test_what_is_held_when_the_engine_breaks_off_is_read_before_it_goes_out(
    gateway: Running, engine: FakeEngine, moderation: FakeModeration, is_bad: bool
) -> None:
    moderation.word = BAD
    engine.says, engine.piece_chars = f"one t{BAD if is_bad else 'w'}o three four", 4
    engine.break_next, engine.chunk_delay_s = 1, 0.2  # behind the second piece
    sent = raw(gateway)
    assert '"content":"one "' in sent
    assert ('"content":"two "' in sent) is not is_bad
    assert BAD not in sent
    assert 'data: {"error":' in sent
    assert "[DONE]" not in sent


def test_the_first_words_do_not_wait_for_a_window(
    start_gateway: Start, redis_url: str, engine: FakeEngine, moderation: FakeModeration
) -> None:
    gateway = start_gateway(
        redis_url, engine, moderation_window_chars=100_000, moderation_window_ms=60_000
    )
    engine.says, engine.piece_chars, engine.chunk_delay_s = GOOD[:100], 10, 0.05
    assert "".join(texts_of(gateway)) == GOOD[:100]
    first, last = [text for text in moderation.inputs if text != "hello"]
    assert len(first) < len(last)
    assert last == GOOD[:100]
