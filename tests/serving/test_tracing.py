"""Whether there are traces. What is in them: test_otel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import otlp
from serving.stack import doctor

_LOADED = """
import sys
{before}
import redis.asyncio  # loads the SDK's metrics wherever they are installed
already = set(sys.modules)
from serving.app import create_app
create_app()
print(*sorted(set(sys.modules) - already))
"""


def _gateway_loads(tmp_path: Path, *, before: str = "", **environment: str) -> tuple[set[str], str]:
    """Modules that a gateway's process has besides its Redis client's, and what it wrote."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ours = {"HONE_SERVING_ENGINE_TOKEN": "x" * 16, "HONE_SERVING_DATA_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _LOADED.format(before=before)],
        env={**kept, **ours, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split()), run.stderr


_COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "is_loaded"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "front"}, False),
        ({**_COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
        ({**_COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        (_COLLECTOR, True),
    ],
)
def test_without_traces_nothing_of_opentelemetry_is_loaded(
    environment: dict[str, str], is_loaded: bool, tmp_path: Path
) -> None:
    loaded, _ = _gateway_loads(tmp_path, **environment)
    assert "serving.tracing" in loaded
    assert any(name.startswith("opentelemetry") for name in loaded) == is_loaded
    assert ("serving.otel" in loaded) == is_loaded


def test_an_endpoint_without_the_extra_is_a_warning_with_the_cure(tmp_path: Path) -> None:
    loaded, written = _gateway_loads(
        tmp_path,
        before="sys.modules['opentelemetry'] = None",  # as if it were not installed
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:1/v1/traces",
    )
    assert "serving.app" in loaded
    assert "pip install 'hone-llm[otel]'" in written


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PROPAGATORS", "nonsense"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-7"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
    ],
)
def test_a_variable_that_the_sdk_refuses_keeps_no_gateway_from_starting(
    variable: str, value: str, tmp_path: Path
) -> None:
    loaded, written = _gateway_loads(tmp_path, **_COLLECTOR, **{variable: value})
    assert "serving.app" in loaded
    assert "no traces are sent" in written


@pytest.mark.parametrize(
    ("protocol", "cure"),
    [("http/protobuf", None), ("http/json", "set it to http/protobuf or grpc")],
)
def test_a_protocol_that_is_not_spoken_is_named(protocol: str, cure: str | None) -> None:
    says = otlp.missing({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert says is None if cure is None else says is not None and cure in says


def test_the_doctor_says_whether_traces_are_sent() -> None:
    assert doctor.tracing_finding({}).says.startswith("off")
    assert doctor.tracing_finding(_COLLECTOR).verdict == "OK"
    finding = doctor.tracing_finding({**_COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    assert finding.verdict == "WARN"
    assert "http/protobuf" in finding.fix


@pytest.mark.parametrize(
    ("given", "url", "protocol"),
    [
        ({}, "http://a:4318/v1/traces", "http/protobuf"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318/"},
            "http://a:4318/v1/traces",
            "http/protobuf",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://a:4318", "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/t"}, "http://b/t", "http/protobuf"),
    ],
)
def test_where_traces_go_is_said_in_full_to_who_does_not_read_the_variables(
    given: dict[str, str], url: str, protocol: str
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", **given}
    assert otlp.traces_url(environment, protocol=protocol) == url
