"""Spans made by OpenTelemetry's SDK. Loaded only when they are wanted (`otlp.from_environment`).

The SDK and its exporter read the standard environment variables themselves: endpoint, headers,
sampler, limits, batches, resource, propagators. A thread sends ended spans in batches; while the
collector is away its queue fills, and further spans are dropped.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection, Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import logs, tracing
from serving.tracing import Attributes, Kind, Span

_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_UNNAMED = "unknown_service"
_FAULT = trace.Status(StatusCode.ERROR)


class Tracing:
    """One per gateway process: makes the spans, and sends them."""

    def __init__(self, *, protocol: str) -> None:
        self._provider = TracerProvider(resource=resource("hone-gateway"), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter(protocol)))
        self._tracer = self._provider.get_tracer("hone")
        self._propagator = _propagator()

    def begin(self, scope: Scope) -> Served | Unsampled:
        """The span of a request, as a part of what its `traceparent` names."""
        context = self._propagator.extract(scope["headers"], Context(), _HEADERS)
        path = scope["path"]
        about = {
            "http.request.method": scope["method"],
            "http.route": path,
            "url.path": path,
            "url.scheme": scope["scheme"],
        }
        made = self._tracer.start_span(
            f"{scope['method']} {path}", context, SpanKind.SERVER, attributes=about
        )
        context = trace.set_span_in_context(made, context)
        return Served(made, context, self) if made.is_recording() else Unsampled(context, self)

    def part(self, name: str, context: Context, *, kind: Kind) -> Recorded:
        """The span of a part of what the context is about."""
        made = self._tracer.start_span(name, context, _KINDS[kind])
        return Recorded(made, trace.set_span_in_context(made, context), self)

    def headers(self, context: Context) -> Mapping[str, str]:
        """What tells another server of the context."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context)
        return carrier

    async def close(self, *, timeout_s: float) -> None:
        """Send what is left, for so long at most."""
        # The SDK takes its time (30 s); a daemon thread keeps no process from ending.
        flushing = threading.Thread(target=self._provider.shutdown, daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, timeout_s)


class Unsampled(Span):
    """What the sampler left out: nothing is recorded of it, and other servers are told so."""

    def __init__(self, context: Context, traces: Tracing) -> None:
        self._context, self._traces = context, traces

    def child(self, name: str, *, kind: Kind) -> Span:
        return self

    def headers(self) -> Mapping[str, str]:
        return self._traces.headers(self._context)

    @property
    def trace_id(self) -> str:
        return _trace_id(self._context)


class Recorded(Span):
    """One of the SDK's spans."""

    is_recording = True

    def __init__(self, made: trace.Span, context: Context, traces: Tracing) -> None:
        self._made, self._context, self._traces = made, context, traces
        self._outer: Token[Span] | None = None
        self._has_failed = False

    @property
    def trace_id(self) -> str:
        return _trace_id(self._context)

    def child(self, name: str, *, kind: Kind) -> Span:
        return self._traces.part(name, self._context, kind=kind)

    def set(self, attributes: Attributes) -> None:
        self._made.set_attributes(attributes)

    def event(self, name: str) -> None:
        self._made.add_event(name)

    def fail(self, error_type: str, *, is_fault: bool = True) -> None:
        if self._has_failed:
            return  # the first reason is the reason
        self._has_failed = True
        self._made.set_attribute("error.type", error_type)
        if is_fault:
            self._made.set_status(_FAULT)

    def answered(self, status: int) -> None:
        self._answered(status, faults_from=400)

    def end(self) -> None:
        self._made.end()

    def headers(self) -> Mapping[str, str]:
        return self._traces.headers(self._context)

    def __enter__(self) -> Span:
        self._outer = tracing.CURRENT.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._outer is not None:
            tracing.CURRENT.reset(self._outer)
        if kind is not None:
            self.fail(kind.__name__, is_fault=issubclass(kind, Exception))
        self.end()

    def _answered(self, status: int, *, faults_from: int) -> None:
        self._made.set_attribute("http.response.status_code", status)
        if status >= 400:
            self.fail(str(status), is_fault=status >= faults_from)


class Served(Recorded):
    """A request's own."""

    def answered(self, status: int) -> None:
        self._answered(status, faults_from=500)  # below it is the caller's fault


class Traced:
    """ASGI, outermost: POSTs to these paths have a span, until the last byte of their answer."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing, paths: Collection[str]) -> None:
        self._app = app
        self._tracing = tracing
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_traced = scope["type"] == "http" and scope["path"] in self._paths
        if not is_traced or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        span = self._tracing.begin(scope)
        logs.bind(trace_id=span.trace_id)
        if isinstance(span, Unsampled):
            tracing.CURRENT.set(span)  # a request has a task, so a context, of its own
            await self._app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.answered(message["status"])
            await send(message)

        with span:
            await self._app(scope, receive, watched)


class _Headers(Getter[list[tuple[bytes, bytes]]]):
    """Headers as ASGI has them: bytes, lower case, a name may come twice."""

    def get(self, carrier: list[tuple[bytes, bytes]], key: str) -> list[str] | None:
        wanted = key.lower().encode()
        return [value.decode("latin-1") for name, value in carrier if name == wanted] or None

    def keys(self, carrier: list[tuple[bytes, bytes]]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS = _Headers()


def _trace_id(context: Context) -> str:
    return trace.format_trace_id(trace.get_current_span(context).get_span_context().trace_id)


def _propagator() -> TextMapPropagator:
    """W3C's trace context. The SDK's default has baggage besides, which would be a stranger's words
    in the SDK's warnings and in every request to the engine."""
    if os.environ.get("OTEL_PROPAGATORS"):
        return propagate.get_global_textmap()
    return TraceContextTextMapPropagator()


def resource(name: str) -> Resource:
    """What the environment says of this process; its name, where it says none."""
    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        return found.merge(Resource({SERVICE_NAME: name}))
    return found


def exporter(protocol: str) -> SpanExporter:
    """What sends spans, as the environment says."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as OverGrpc,
        )

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
