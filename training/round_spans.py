"""A round as a trace of OpenTelemetry: a span for each attempt at a step, and one around all of them.

Their ids follow from the round's, so that workers that take over from one another make one trace. The span of
the round is sent when it has ended, linked with the requests behind a sample of its judgements. Every
round is recorded, whatever share of the requests is.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags

from serving import otel, round_states
from serving.lineage import held
from serving.lineage.said import Log
from training.rounds import Rounds
from training.worker import EXIT_REFUSED, Holder, RunStep

log = logging.getLogger(__name__)

_MAX_LINKS = 16
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@contextmanager
def spans_of(
    rounds: Rounds, round_id: str, run_step: RunStep, exporter: SpanExporter
) -> Iterator[RunStep]:
    """The same, each call a span. At the end that of the round, if the round has ended by then."""
    ids = _Ids()
    provider = TracerProvider(
        resource=otel.resource("hone-worker"),
        sampler=ALWAYS_ON,
        id_generator=ids,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    traced = _Traced(rounds, round_id, provider.get_tracer("hone"), ids)
    try:
        yield traced.around(run_step)
        traced.end()
    except (redis.RedisError, OSError) as error:  # the next worker sends it
        log.warning("the span of a round is not sent: %s", error)
    finally:
        provider.shutdown()


@dataclass
class _Traced:
    rounds: Rounds
    round_id: str
    tracer: trace.Tracer
    ids: _Ids
    folder: Path | None = None  # of the round, once a step has run

    def around(self, run_step: RunStep) -> RunStep:
        def run(rounds: Rounds, round_id: str, folder: Path, step: str, holder: Holder) -> int:
            self.folder = folder
            with self._step(step) as span:
                code = run_step(rounds, round_id, folder, step, holder)
                span.set_attribute("hone.round.exit_code", code)
                if code not in (0, EXIT_REFUSED):
                    span.set_attribute("error.type", f"exit {code}")
                    span.set_status(StatusCode.ERROR)
                return code

        return run

    def end(self) -> None:
        """The span around all steps, once the round has ended."""
        state = self.rounds.state(self.round_id)
        if state.get("status") not in round_states.ENDED:
            return
        about = _about(self.round_id, state) | {"hone.round.status": state["status"]}
        self.ids.next = self._context()
        span = self.tracer.start_span(
            "round",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            attributes=about,
            links=[Link(_context(found, found[:16])) for found in self._requests()],
            start_time=int(float(state["started"]) * 1e9),
        )
        if state["status"] == round_states.FAILED:
            span.set_status(StatusCode.ERROR)
        span.end(int(float(state.get("ended", time.time())) * 1e9))

    def _step(self, step: str) -> Any:
        state = self.rounds.state(self.round_id)
        attempt = int(state.get(f"attempts:{step}", 1))
        around = trace.set_span_in_context(trace.NonRecordingSpan(self._context()))
        about = _about(self.round_id, state) | {"hone.round.attempt": attempt}
        return self.tracer.start_as_current_span(
            f"round.{step}", around, attributes=about, record_exception=False
        )

    def _context(self) -> SpanContext:
        started = self.rounds.state(self.round_id).get("started", "")
        digest = hashlib.sha256(f"{self.round_id} {started}".encode()).hexdigest()
        return _context(digest[:32], digest[32:48])

    def _requests(self) -> list[str]:
        """Traces of requests whose answers were judged: of some judgements of the snapshot."""
        if self.folder is None:
            return []
        said, found = Log(self.rounds.redis), dict[str, None]()
        for part in ("rankings.jsonl", "comparisons.jsonl"):
            for each in held.sample(self.folder / "snapshot" / part):
                judgement = said.judgement(each)
                for answer in () if isinstance(judgement, str) else judgement.completion_ids:
                    completion = said.completion(answer)
                    if not isinstance(completion, str) and completion.trace_id:
                        found[completion.trace_id] = None
        return list(found)[:_MAX_LINKS]


class _Ids(RandomIdGenerator):
    """Random, but for the next span where it is said."""

    def __init__(self) -> None:
        self.next: SpanContext | None = None

    def generate_trace_id(self) -> int:
        return self.next.trace_id if self.next is not None else super().generate_trace_id()

    def generate_span_id(self) -> int:
        given, self.next = self.next, None
        return given.span_id if given is not None else super().generate_span_id()


def _about(round_id: str, state: dict[str, str]) -> dict[str, str | int]:
    about = {"id": round_id, "kind": state.get("kind", "policy"), "recipe": state.get("recipe", "")}
    return {f"hone.round.{name}": value for name, value in about.items()}


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED)
