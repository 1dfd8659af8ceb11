"""helm/dashboards: every query names what is exported, and is PromQL."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.exported_metrics import ROOT, TARGET, exported, labels_of, named, recorded

DASHBOARDS = sorted((ROOT / "helm" / "dashboards").glob("*.json"))
ALERTS = sorted((ROOT / "helm" / "alerts").glob("*.yaml"))
UNITS = {"short", "s", "bytes", "percentunit", "reqps"}


def panels(path: Path) -> list[dict[str, Any]]:
    return [p for p in json.loads(path.read_text())["panels"] if p["type"] != "row"]


def queries(path: Path) -> list[str]:
    if path.suffix == ".json":
        return [target["expr"] for panel in panels(path) for target in panel["targets"]]
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_there_are_three_dashboards() -> None:
    names = [path.stem for path in DASHBOARDS]
    assert names == ["feedback", "learning", "serving"]
    assert {json.loads(path.read_text())["uid"] for path in DASHBOARDS} == {
        f"hone-{name}" for name in names
    }


@pytest.mark.parametrize("path", [*DASHBOARDS, *ALERTS], ids=lambda path: path.name)
def test_a_query_names_only_metrics_and_labels_that_a_process_shows(path: Path) -> None:
    known = exported()
    for query in queries(path):
        names = named(query)
        assert names, query
        assert names <= known.keys(), (names - known.keys(), query)
        labels = set().union(*(known[name] for name in names)) | TARGET
        assert labels_of(query) <= labels, query


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_panel_has_a_title_a_unit_and_says_what_it_shows(path: Path) -> None:
    found = panels(path)
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_no_panel_lies_over_another(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_asks_for_its_source_and_shows_one_namespace_or_all(path: Path) -> None:
    variables = {v["name"]: v for v in json.loads(path.read_text())["templating"]["list"]}
    assert variables.keys() == {"datasource", "namespace"}
    for query in queries(path):
        assert 'namespace=~"$namespace"' in query


def test_every_query_is_promql(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: Debian's package prometheus has it")
    rules = [
        {"record": f"dashboard:{path.stem}:{number}", "expr": _filled(query)}
        for path in DASHBOARDS
        for number, query in enumerate(queries(path))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    run = subprocess.run(
        [promtool, "check", "rules", file, *ALERTS], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr + run.stdout


def _filled(query: str) -> str:
    return query.replace("$__rate_interval", "5m").replace("$namespace", ".*")


def test_the_recorded_metrics_are_vllm_s() -> None:
    assert all(name.startswith("vllm:") for name in recorded())
