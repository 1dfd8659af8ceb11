"""Spans of a request, as its code sees them: `with tracing.span("log.append"):`.

Traces are made when an OTLP endpoint is set (OTEL_EXPORTER_OTLP_ENDPOINT) and the extra `otel` is
installed. Otherwise a span is one object that does nothing, and nothing of opentelemetry is loaded.

No prompt and no answer goes into a span, and no error's message: it may quote them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from serving.otel import Tracing

log = logging.getLogger(__name__)

Kind = Literal["internal", "client"]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

_PROTOCOLS = {  # OTEL_EXPORTER_OTLP_PROTOCOL -> the module that speaks it, and how to get it
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http", "hone-llm[otel]"),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"),
}
_NOTHING: Mapping[str, str] = {}


class Span:
    """Something that takes time. This one is off; `serving.otel` has those that are recorded."""

    is_recording = False

    def child(self, name: str, *, kind: Kind) -> Span:
        """A part of it, begun now."""
        return self

    def set(self, attributes: Attributes) -> None:
        """Say more about it. Never of texts."""

    def event(self, name: str) -> None:
        """This happened just now."""

    def fail(self, error_type: str, *, is_fault: bool = True) -> None:
        """It does not do what was asked: by our fault, or by the caller's."""

    def answered(self, status: int) -> None:
        """The headers of the answer are there."""

    def end(self) -> None:
        """It is over; `with` does it by itself."""

    def headers(self) -> Mapping[str, str]:
        """What a request carries to be a part of it: `traceparent`."""
        return _NOTHING

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """An exception fails it."""


OFF = Span()
CURRENT: ContextVar[Span] = ContextVar("span", default=OFF)


def current() -> Span:
    """The innermost one of this request."""
    return CURRENT.get()


def span(name: str, *, kind: Kind = "internal") -> Span:
    """A part of the current one: current itself inside a `with`, else to be ended by hand."""
    return CURRENT.get().child(name, kind=kind)


def headers() -> Mapping[str, str]:
    """For a request to another server, so that its spans are parts of the current one."""
    return CURRENT.get().headers()


def from_environment() -> Tracing | None:
    """What makes the spans of a gateway; None where none are wanted.

    Wanted and not possible is a warning, no error: these variables are often set for a whole machine
    or namespace, and answers matter more than traces.
    """
    if not is_wanted(os.environ):
        return None
    if cure := missing(os.environ):
        log.warning("no traces are sent, though an OTLP endpoint is set: %s", cure)
        return None
    try:
        from serving.otel import Tracing

        return Tracing()
    except ValueError as error:  # how the SDK refuses most variables that are wrong
        log.warning("no traces are sent, for a variable of OpenTelemetry is wrong: %s", error)
        return None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """An endpoint for traces is set, and nothing turns them off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return bool(_of_traces(environment, "ENDPOINT"))


def missing(environment: Mapping[str, str]) -> str | None:
    """What to do before traces can be sent; None when they can."""
    spoken = protocol(environment)
    if spoken not in _PROTOCOLS:
        known = " or ".join(_PROTOCOLS)
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is '{spoken}': set it to {known}"
    module, package = _PROTOCOLS[spoken]
    try:
        is_there = find_spec(module) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        is_there = False
    return None if is_there else f"pip install '{package}', or unset OTEL_EXPORTER_OTLP_ENDPOINT"


def protocol(environment: Mapping[str, str]) -> str:
    """How the collector is spoken to."""
    return _of_traces(environment, "PROTOCOL") or "http/protobuf"


def _of_traces(environment: Mapping[str, str], name: str) -> str:
    """A setting of the exporter; what is said of traces goes before what is said of everything."""
    for of in ("TRACES_", ""):
        if value := environment.get(f"OTEL_EXPORTER_OTLP_{of}{name}", "").strip():
            return value
    return ""
