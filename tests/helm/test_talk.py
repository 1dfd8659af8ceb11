"""`helm test`: the pod that runs files/talk.py (tests/serving/test_talk.py runs the script itself)."""

from __future__ import annotations

import ast
import sys

from tests.helm.chart import FOLDER, Chart

SCRIPT = FOLDER / "files" / "talk.py"


def test_the_pod_runs_it_with_the_gateway_s_image_and_python_s_own_library(chart: Chart) -> None:
    found = chart.render()
    container = found.container("test")
    assert container["image"] == found.container("gateway")["image"]
    assert container["command"] == ["python", "-c"]
    assert ast.dump(ast.parse(container["args"][0])) == ast.dump(ast.parse(SCRIPT.read_text()))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names


def test_it_is_run_by_helm_test_alone(chart: Chart) -> None:
    (pod,) = chart.render().all("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
