"""Objects of kinds that are not Kubernetes' own, held to their projects' CRDs: Gateway API 1.0.0, KEDA 2.10.1 and
Prometheus Operator 0.90.1, as npm's @kubernetes-models makes validators of them. They say nothing of unknown fields;
tests/helm/schemas do."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import WAYS, Chart, Object
from tests.node_packages import installed

_HERE = Path(__file__).parent / "crds"
_GROUPS = ("gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com")
Judge = Callable[[list[Object]], list[str]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    node_modules = installed(_HERE / "package.json")
    folder = tmp_path_factory.mktemp("crds")
    script = shutil.copy(_HERE / "problems.mjs", folder)  # finds its packages beside itself
    (folder / "node_modules").symlink_to(node_modules)

    def problems(objects: list[Object]) -> list[str]:
        done = subprocess.run(
            ["node", script],
            input="".join(json.dumps(one) + "\n" for one in objects),
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        return list(json.loads(done.stdout))

    return problems


@pytest.fixture(scope="module")
def found(chart: Chart) -> list[Object]:
    """Of every supported way."""
    ways = [path.name.removesuffix("-values.yaml") for path in WAYS]
    return [one for way in ways for one in chart.render(way=way).objects if _is_foreign(one)]


def _is_foreign(one: Object) -> bool:
    return one["apiVersion"].partition("/")[0] in _GROUPS


def test_their_projects_own_crds_take_every_object_of_every_way(
    judge: Judge, found: list[Object]
) -> None:
    kinds = {one["kind"] for one in found}
    assert kinds == {"HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject"}
    assert judge(found) == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong", "said"),
    [
        ("HTTPRoute", ("rules", 0, "backendRefs", 0, "port"), 65_536, "must be <= 65535"),
        ("PodMonitor", ("podMetricsEndpoints", 0, "interval"), "often", "must match pattern"),
        ("PrometheusRule", ("groups", 0, "rules", 0, "expr"), None, "expr"),
        ("ScaledObject", ("triggers", 0, "type"), 5, "must be string"),
    ],
)
def test_they_would_refuse_a_wrong_one(
    judge: Judge, found: list[Object], kind: str, path: tuple[str | int, ...], wrong: Any, said: str
) -> None:
    one = copy.deepcopy(next(one for one in found if one["kind"] == kind))
    part = one["spec"]
    for step in path[:-1]:
        part = part[step]
    assert part[path[-1]] != wrong
    part[path[-1]] = wrong
    (problem,) = judge([one])
    assert said in problem
