"""Spans of a request, as its code sees them: `with tracing.span("log.append"):`.

Unless traces are sent (serving.otlp) a span is one object that does nothing, and nothing of
opentelemetry is loaded.

No prompt and no answer goes into a span, and no error's message: it may quote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Literal

Kind = Literal["internal", "client"]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

_NOTHING: Mapping[str, str] = {}


class Span:
    """Something that takes time. This one is off; `serving.otel` has those that are recorded."""

    is_recording = False

    @property
    def trace_id(self) -> str:
        """Of the trace that it is a part of, hex; empty: none."""
        return ""

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
