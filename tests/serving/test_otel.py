"""Traces of the data path: a real gateway, a real OTLP receiver."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from serving import logs
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.fake_moderation import FakeModeration
from tests.serving.otlp_collector import ERROR, Collector

SECRET = "marmalade"  # in every prompt and answer here, and nowhere else
HELLO: Any = [{"role": "user", "content": f"{SECRET} is {SECRET} my friend"}]
LONG: Any = [{"role": "user", "content": " ".join(f"{SECRET}{i}" for i in range(100))}]
SERVER, ENGINE = "POST /v1/chat/completions", "engine.answer"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """The environment of a gateway with traces, all of them."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    served = Collector()
    served.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", served.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield served
    served.stop()


@pytest.fixture
def traced(
    collector: Collector,
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
) -> Running:
    return start_gateway(redis_url, engine)


def ask(gateway: Running, messages: Any = HELLO, **fields: Any) -> Any:
    return gateway.openai().chat.completions.create(model="policy", messages=messages, **fields)


def test_an_answer_is_a_span_with_its_parts(traced: Running, collector: Collector) -> None:
    answer = ask(traced, temperature=0.5, max_tokens=20)
    names = (SERVER, "moderation.prompt", ENGINE, "moderation.completion", "log.append")
    server, *parts = collector.wait(*names)
    assert {(part.trace_id, part.parent) for part in parts} == {(server.trace_id, server.id)}
    assert [part.kind for part in parts] == ["CLIENT", "CLIENT", "CLIENT", "INTERNAL"]
    assert (server.kind, server.parent) == ("SERVER", "")
    assert server.start_s <= parts[0].start_s <= parts[0].end_s <= parts[1].start_s
    assert parts[1].end_s <= parts[2].start_s <= parts[3].start_s <= parts[3].end_s <= server.end_s
    assert [span.status for span in (server, *parts)] == [0] * 5
    assert server.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "hone",
        "gen_ai.request.choice.count": 1,
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.model": "policy",
        "gen_ai.request.stream": False,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": answer.id,
        "gen_ai.response.model": "policy-0000",
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
    }
    assert parts[1].attributes["server.address"] == "127.0.0.1"
    assert parts[1].attributes["http.response.status_code"] == 200
    assert server.resource["service.name"] == "hone-gateway"


def test_the_log_keeps_the_trace_of_an_answer(traced: Running, collector: Collector) -> None:
    answer = ask(traced, store=True)
    (server,) = collector.wait(SERVER)
    kept = traced.run(traced.app.state.gateway.journal.get("completions", answer.id))
    assert kept.trace_id == server.trace_id


def test_a_text_completion_is_named_as_such(traced: Running, collector: Collector) -> None:
    traced.openai().completions.create(model="policy", prompt=f"{SECRET} tea", n=2)
    (server,) = collector.wait("POST /v1/completions")
    assert server.attributes["gen_ai.operation.name"] == "text_completion"
    assert server.attributes["gen_ai.response.finish_reasons"] == ["stop", "stop"]


def test_a_stream_s_span_ends_with_the_stream(
    traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    engine.chunk_delay_s = 0.05
    began_s = time.time()
    assert len(list(ask(traced, stream=True))) > 4
    server, part, kept = collector.wait(SERVER, ENGINE, "log.append")
    assert server.end_s - server.start_s > 0.2  # five chunks
    assert began_s <= server.start_s <= part.start_s < part.end_s <= server.end_s <= time.time()
    assert part.end_s - part.start_s > 0.2
    assert kept.parent == server.id
    assert server.events == ["first_token"]
    assert server.attributes["gen_ai.request.stream"] is True
    assert server.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert server.attributes["gen_ai.usage.output_tokens"] == 5
    assert server.status == 0


def test_a_stream_that_breaks_is_an_error(
    traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    engine.break_next, engine.chunk_delay_s = 1, 0.01
    with pytest.raises(openai.APIError):
        list(ask(traced, LONG, stream=True))
    server, part = collector.wait(SERVER, ENGINE)
    assert (server.status, server.attributes["error.type"]) == (ERROR, "broken_by_engine")
    assert (part.status, part.attributes["error.type"]) == (ERROR, "Unavailable")
    assert server.attributes["http.response.status_code"] == 200
    assert 1 <= server.attributes["gen_ai.usage.output_tokens"] < 100
    assert server.attributes["gen_ai.response.finish_reasons"] == []


def test_a_client_that_leaves_is_no_fault(
    traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    engine.chunk_delay_s = 0.02
    stream = ask(traced, LONG, stream=True)
    next(iter(stream))
    stream.close()
    (server,) = collector.wait(SERVER)
    assert (server.status, server.attributes["error.type"]) == (0, "broken_by_client")
    collector.spans.clear()
    engine.answer_delay_s = 5
    with pytest.raises(openai.APITimeoutError):
        traced.openai(timeout=0.3).chat.completions.create(model="policy", messages=HELLO)
    (server,) = collector.wait(SERVER)
    assert (server.status, server.attributes["error.type"]) == (0, "broken_by_client")


def test_each_attempt_at_an_engine_is_a_span(
    traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    engine.fail_next = 2
    with pytest.raises(openai.InternalServerError):
        ask(traced)
    server, _ = collector.wait(SERVER, ENGINE)
    assert (server.status, server.attributes["error.type"]) == (ERROR, "Unavailable")
    assert server.attributes["http.response.status_code"] == 503
    attempts = [span for span in collector.spans if span.name == ENGINE]
    assert [span.attributes["error.type"] for span in attempts] == ["500", "500"]
    sent = [headers["traceparent"].split("-")[2] for headers in engine.headers]
    assert sent == [span.id for span in sorted(attempts, key=lambda span: span.start_s)]


def test_what_the_caller_did_wrong_is_no_fault(traced: Running, collector: Collector) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(traced, [{"role": "user", "content": f"an attack on the {SECRET}"}])
    (server,) = collector.wait(SERVER)
    assert (server.status, server.attributes["error.type"]) == (0, "ContentBlocked")
    assert server.attributes["hone.moderation.prompt.blocked"] == ["violence"]
    assert "gen_ai.response.id" not in server.attributes
    collector.spans.clear()
    with pytest.raises(openai.AuthenticationError):
        traced.openai("sk-wrong").chat.completions.create(model="policy", messages=HELLO)
    (server,) = collector.wait(SERVER)
    assert server.attributes["http.response.status_code"] == 401
    assert server.attributes["error.type"] == "Unauthorized"


def test_waiting_for_room_is_a_part(
    collector: Collector,
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
) -> None:
    gateway = start_gateway(redis_url, engine, max_in_flight=1)
    engine.chunk_delay_s = 0.1
    first = ask(gateway, stream=True)
    next(iter(first))
    ask(gateway)
    list(first)
    (waited,) = collector.wait("engine.wait")
    assert waited.end_s - waited.start_s > 0.1


def test_the_caller_s_trace_goes_on_into_the_engine_and_moderation(
    traced: Running, engine: FakeEngine, moderation: FakeModeration, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    ask(traced, extra_headers=headers)
    server, prompt, part = collector.wait(SERVER, "moderation.prompt", ENGINE)
    assert (server.trace_id, server.parent) == (TRACE, PARENT)
    assert engine.headers[0]["traceparent"] == f"00-{TRACE}-{part.id}-01"
    assert engine.headers[0]["tracestate"] == "vendor=1"
    assert moderation.headers[0]["traceparent"] == f"00-{TRACE}-{prompt.id}-01"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "no such thing"},
        {"traceparent": f"00-{TRACE}-{PARENT}-01" + "-x" * 400},
        {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "=,;" * 200},
        {"baggage": f"a%0d%0ab={SECRET}," + "b=%0d," * 1000},
    ],
)
def test_a_caller_s_nonsense_does_no_harm(
    headers: dict[str, str], traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    ask(traced, extra_headers=headers)
    server, part = collector.wait(SERVER, ENGINE)
    (sent,) = engine.headers
    assert sent["traceparent"].startswith(f"00-{server.trace_id}-{part.id}-")
    assert "baggage" not in sent


def test_what_the_sampler_leaves_out_is_sent_nowhere_but_on(
    monkeypatch: pytest.MonkeyPatch,
    collector: Collector,
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
    moderation: FakeModeration,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front")
    gateway = start_gateway(redis_url, engine)
    ask(gateway)
    list(ask(gateway, stream=True))
    sent = [headers["traceparent"] for headers in (*engine.headers, *moderation.headers)]
    assert len(engine.headers) == 2
    assert len(moderation.headers) >= 2  # it may read a stream in parts, and remembers what it read
    assert all(int(value[-2:], 16) & 1 == 0 for value in sent)  # bit 0: it was sampled
    ask(gateway, extra_headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (server,) = collector.wait(SERVER)
    assert server.resource["service.name"] == "front"
    assert {span.trace_id for span in collector.spans} == {TRACE}


def test_no_text_leaves_with_a_span(
    traced: Running, engine: FakeEngine, collector: Collector
) -> None:
    ask(traced, stop=[SECRET], user=SECRET, metadata={"about": SECRET})
    list(ask(traced, LONG, stream=True))
    with pytest.raises(openai.NotFoundError):
        traced.openai().chat.completions.create(model=SECRET, messages=HELLO)
    for broken in ({"temperature": SECRET}, {SECRET: 1}, {"n": SECRET}):
        with pytest.raises(openai.BadRequestError):
            ask(traced, extra_body=broken)
    with pytest.raises(openai.BadRequestError):
        ask(traced, [{"role": "user", "content": f"too long {SECRET}"}])
    engine.break_next = 1
    with pytest.raises(openai.APIError):
        list(ask(traced, LONG, stream=True))
    traced.stop()
    assert sum(span.name == SERVER for span in collector.spans) == 8
    assert all(SECRET not in raw.decode("latin-1").lower() for raw in collector.raw)


def test_an_answer_replayed_under_its_idempotency_key_is_a_span_too(
    traced: Running, collector: Collector
) -> None:
    for _ in range(2):
        list(ask(traced, stream=True, extra_headers={"idempotency-key": "one"}))
    traced.stop()
    first, again = [span for span in collector.spans if span.name == SERVER]
    assert first.attributes["gen_ai.usage.output_tokens"] == 5
    assert again.attributes["http.response.status_code"] == 200
    assert "gen_ai.response.id" not in again.attributes
    assert sum(span.name == ENGINE for span in collector.spans) == 1


def test_log_lines_name_the_trace(traced: Running, collector: Collector) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter())
    logger = logging.getLogger("serving.openai_api")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        ask(traced)
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    (server,) = collector.wait(SERVER)
    (line,) = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (line["event"], line["trace_id"]) == ("answered", server.trace_id)


def test_stopping_sends_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
    collector: Collector,
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    gateway = start_gateway(redis_url, engine)
    ask(gateway)
    assert collector.spans == []
    gateway.stop()
    assert len(collector.spans) == 5


def test_a_collector_that_hangs_delays_no_answer_and_no_stop(
    monkeypatch: pytest.MonkeyPatch,
    collector: Collector,
    start_gateway: Callable[..., Running],
    redis_url: str,
    engine: FakeEngine,
) -> None:
    with _silence() as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        gateway = start_gateway(redis_url, engine, shutdown_s=1)
        for _ in range(10):
            began_s = time.monotonic()
            ask(gateway)
            assert time.monotonic() - began_s < 1
        began_s = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began_s < 5  # the exporter alone would wait for 10


def test_other_routes_have_no_spans(traced: Running, collector: Collector) -> None:
    headers = {"authorization": f"Bearer {traced.secret}"}
    assert httpx2.get(f"{traced.url}/v1/models", headers=headers).status_code == 200
    body = {"input": "hello"}
    assert httpx2.post(f"{traced.url}/v1/moderations", json=body, headers=headers).is_success
    ask(traced)
    collector.wait(SERVER)
    assert len({span.trace_id for span in collector.spans}) == 1


@contextmanager
def _silence() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
