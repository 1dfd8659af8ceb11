"""Receives spans by OTLP over HTTP, as a collector does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.serving.fake_engine import Served

ERROR = 2  # of the protocol's Status.code; 0 is unset


@dataclass(frozen=True, kw_only=True)
class Received:
    """A span, as it came over the wire."""

    name: str
    kind: str
    trace_id: str
    id: str
    parent: str  # empty: none
    attributes: dict[str, Any]
    events: list[str]
    links: list[str]  # trace ids
    status: int
    start_s: float
    end_s: float
    resource: dict[str, Any]


class Collector(Served):
    def __init__(self) -> None:
        super().__init__()
        self.raw: list[bytes] = []
        self.spans: list[Received] = []

    def routes(self) -> None:
        self.app.router.add_post("/v1/traces", self._traces)

    def wait(self, *names: str) -> list[Received]:
        """The spans with these names, in their order, once all of them have come."""
        deadline = time.monotonic() + 60
        while True:
            by_name = {span.name: span for span in self.spans}
            if by_name.keys() >= set(names):
                return [by_name[name] for name in names]
            assert time.monotonic() < deadline, f"only {sorted(by_name)} have come"
            time.sleep(0.01)

    async def _traces(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw.append(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


def _received(span: Span, resource: dict[str, Any]) -> Received:
    return Received(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        events=[event.name for event in span.events],
        links=[link.trace_id.hex() for link in span.links],
        status=span.status.code,
        start_s=span.start_time_unix_nano / 1e9,
        end_s=span.end_time_unix_nano / 1e9,
        resource=resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    found: list[KeyValue] = list(pairs)
    return {pair.key: _value(pair.value) for pair in found}


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, str(which))
