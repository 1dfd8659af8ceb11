"""Whether traces are wanted and can be sent, as OpenTelemetry's standard variables say.

They are when an OTLP endpoint is set (OTEL_EXPORTER_OTLP_ENDPOINT) and the extra `otel` is installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.otel import Tracing

log = logging.getLogger(__name__)

_PROTOCOLS = {  # OTEL_EXPORTER_OTLP_PROTOCOL -> the module that speaks it, and how to get it
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http", "hone-llm[otel]"),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"),
}


def from_environment() -> Tracing | None:
    """What makes the spans of a gateway; None where none are wanted."""
    protocol = wanted_protocol()
    if protocol is None:
        return None
    try:
        from serving.otel import Tracing

        return Tracing(protocol=protocol)
    except ValueError as error:  # how the SDK refuses most variables that are wrong
        log.warning("no traces are sent, for a variable of OpenTelemetry is wrong: %s", error)
        return None


def wanted_protocol() -> str | None:
    """How the collector is spoken to; None where no traces are to be sent.

    Wanted and not possible is a warning, no error: these variables are often set for a whole machine
    or namespace, and answers matter more than traces.
    """
    if not is_wanted(os.environ):
        return None
    if cure := missing(os.environ):
        log.warning("no traces are sent, though an OTLP endpoint is set: %s", cure)
        return None
    return _protocol(os.environ)


def traces_url(environment: Mapping[str, str], *, protocol: str) -> str:
    """The endpoint for traces in full, for whoever does not read these variables as the SDK does."""
    if url := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip():
        return url
    url = environment["OTEL_EXPORTER_OTLP_ENDPOINT"].strip()
    return url if protocol == "grpc" else f"{url.rstrip('/')}/v1/traces"


def is_wanted(environment: Mapping[str, str]) -> bool:
    """An endpoint for traces is set, and nothing turns them off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return bool(_of_traces(environment, "ENDPOINT"))


def missing(environment: Mapping[str, str]) -> str | None:
    """What to do before traces can be sent; None when they can."""
    spoken = _protocol(environment)
    if spoken not in _PROTOCOLS:
        known = " or ".join(_PROTOCOLS)
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is '{spoken}': set it to {known}"
    module, package = _PROTOCOLS[spoken]
    try:
        is_there = find_spec(module) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        is_there = False
    return None if is_there else f"pip install '{package}', or unset OTEL_EXPORTER_OTLP_ENDPOINT"


def _protocol(environment: Mapping[str, str]) -> str:
    """How the collector is spoken to."""
    return _of_traces(environment, "PROTOCOL") or "http/protobuf"


def _of_traces(environment: Mapping[str, str], name: str) -> str:
    """A setting of the exporter; what is said of traces goes before what is said of everything."""
    for of in ("TRACES_", ""):
        if value := environment.get(f"OTEL_EXPORTER_OTLP_{of}{name}", "").strip():
            return value
    return ""
