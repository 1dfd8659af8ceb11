"""Whatever the schema takes renders to what Kubernetes takes, and stays within bounds; or is refused with the cure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helm.api_schemas import VERSIONS, problems
from tests.helm.chart import WAYS, Chart, Refused
from tests.helm.invariants import broken
from tests.helm.values_strategy import changes, merged, taking

NAMES = [path.name.removesuffix("-values.yaml") for path in WAYS]
_OF_OTHER_OBJECTS = {
    "caSecret",
    "caSecretKey",
    "className",
    "existingClaim",
    "existingSecret",
    "existingSecretKey",
    "priorityClassName",
    "runtimeClassName",
    "storageClass",
}
_CONFLICT = "These values do not go together"


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(way=st.sampled_from(NAMES), version=st.sampled_from(VERSIONS), pairs=changes())
def test_every_valid_values_file_renders_to_what_kubernetes_takes_and_stays_within_bounds(
    chart: Chart, way: str, version: str, pairs: list[tuple[tuple[str, ...], Any]]
) -> None:
    try:
        found = chart.render(merged(pairs), way=way)
    except Refused as refused:
        if _CONFLICT not in str(refused):
            raise
        return
    assert [p for one in found.objects for p in problems(one, version)] == []
    assert broken(found) == []


@pytest.mark.parametrize("text", ["0", "1e3", "true", "null"])
def test_a_name_that_yaml_would_read_as_something_else_stays_a_name(
    chart: Chart, text: str
) -> None:
    paths = [path for path in taking(text) if path[-1] in _OF_OTHER_OBJECTS]
    assert {path[-1] for path in paths} == _OF_OTHER_OBJECTS
    found = chart.render(merged([(path, text) for path in paths]), way="gpu")
    assert [p for one in found.objects for p in problems(one, VERSIONS[-1])] == []
