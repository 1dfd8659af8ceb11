"""Values, their schema and their description go together; every way that is supported is a valid one."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.helm import written
from tests.helm.api_schemas import VERSIONS, problems
from tests.helm.chart import FOLDER, WAYS, Chart

NAMES = [path.name.removesuffix("-values.yaml") for path in WAYS]
SCHEMA: dict[str, Any] = json.loads((FOLDER / "values.schema.json").read_text())
REWRITE = "run: .venv/bin/python -m tests.helm.written"


@pytest.mark.parametrize("way", NAMES)
def test_helm_s_lint_finds_nothing_in_any_way(chart: Chart, way: str) -> None:
    said = chart.text({}, way, "--strict", command="lint")
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("way", NAMES)
def test_every_kubernetes_from_1_29_to_1_37_takes_every_object_of_every_way(
    chart: Chart, way: str
) -> None:
    found = chart.render(way=way).objects
    assert [p for version in VERSIONS for one in found for p in problems(one, version)] == []


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_validate_says_the_same(chart: Chart, version: str) -> None:
    one_of_each = {found["kind"]: found for found in chart.render(way="cpu").objects}
    assert len(one_of_each) > 8
    for found in one_of_each.values():
        assert kubernetes_validate.validate(found, version, strict=True) == version


def test_kubernetes_validate_would_say_so(chart: Chart) -> None:
    found = dict(chart.render().one("Service", "gateway"), spec={"port": 80})
    assert problems(found, "1.37")
    assert problems({**found, "kind": "Servce"}, "1.37") == ["there is no schema of v1 Servce"]


def test_an_object_has_one_name_of_its_kind(chart: Chart) -> None:
    for way in NAMES:
        found = chart.render(way=way).objects
        names = [(one["kind"], one["metadata"]["name"]) for one in found]
        assert len(names) == len(set(names)), way


def test_every_way_says_what_it_is_for() -> None:
    assert len(WAYS) >= 6
    assert all(path.read_text().startswith("# ") for path in WAYS)


def test_every_value_is_described_in_one_line() -> None:
    described = {path for path, _comment, _value in written.described()}
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    leaves = {path for path, value in _leaves(values)}
    missing = {
        leaf for leaf in leaves if not any(leaf == p or leaf.startswith(p + ".") for p in described)
    }
    assert missing == set()


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    in_schema = set(_paths(SCHEMA))
    in_values = {path for path, _value in _leaves(values)}
    assert {path for path in in_values if not _is_in(path, in_schema)} == set()
    unset = {
        path
        for path in in_schema
        if not any(v == path or v.startswith(path + ".") for v in in_values)
    }
    assert {path for path in unset if not path.startswith(("global", "monitoring"))} == set()


def test_no_object_of_the_schema_takes_what_it_does_not_know() -> None:
    open_ones = {
        "extraObjects/items",  # whole objects of Kubernetes
        "global",  # a parent chart's
    }
    found = {
        path for path in _open("", SCHEMA) if path.removeprefix("properties/") not in open_ones
    }
    assert found == set()


def test_the_schema_of_settings_is_the_code_s() -> None:
    assert SCHEMA["properties"]["settings"]["properties"] == written.settings(), REWRITE


def test_what_is_written_by_a_program_is_up_to_date() -> None:
    assert (FOLDER / "values.schema.json").read_text() == written.schema(), REWRITE
    assert (FOLDER / "README.md").read_text() == written.readme(), REWRITE


def test_the_settings_that_the_chart_makes_itself_are_settings(chart: Chart) -> None:
    text = (FOLDER / "templates" / "_settings.tpl").read_text()
    block = text.split('define "hone.ownedSettings" -}}')[1].split("{{- end")[0]
    owned = set(yaml.safe_load(block))
    assert owned <= written.settings().keys()
    for way in NAMES:
        maps = {m["metadata"]["name"]: m["data"] for m in chart.render(way=way).all("ConfigMap")}
        given = yaml.safe_load((FOLDER / "ci" / f"{way}-values.yaml").read_text()).get(
            "settings", {}
        )
        parts = ("gateway", "engine", "rollout", "moderation", "control", "train", "beat")
        made = {name for part in parts for name in maps.get(f"hone-{part}", {})}
        assert made - set(given) <= owned, way


def test_the_readme_installs_what_is_there() -> None:
    text = (FOLDER / "README.md").read_text()
    for way in NAMES:
        assert f"ci/{way}-values.yaml" in text


def test_the_notes_tell_the_next_step(chart: Chart) -> None:
    said = chart.text({}, "gpu", "--dry-run=client", command="install")
    notes = said.split("NOTES:")[1]
    assert "helm -n ns test hone" in notes
    assert "hone keys create" in notes
    assert "https://chat.example.com/" in notes
    assert "outbox" not in notes


def test_the_notes_say_what_is_not_for_production(chart: Chart) -> None:
    notes = chart.text({}, "cpu", "--dry-run=client", command="install").split("NOTES:")[1]
    assert "for trying out" in notes
    assert "gateway.outbox.persistent=true" in notes


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [
        leaf
        for name, inner in value.items()
        for leaf in _leaves(inner, f"{path}.{name}" if path else name)
    ]


def _paths(schema: dict[str, Any], path: str = "") -> list[str]:
    """Of everything in `properties`, down to what is no object with names of its own."""
    node = _resolved(schema)
    if path.endswith(("settings", "annotations", "extraEgress", "affinity", "resources")):
        return [path]
    if "properties" not in node:
        return [path]
    return [
        leaf
        for name, inner in node["properties"].items()
        for leaf in _paths(inner, f"{path}.{name}" if path else name)
    ]


def _is_in(path: str, known: set[str]) -> bool:
    return any(path == one or path.startswith(one + ".") for one in known)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return dict(SCHEMA["definitions"][name])
    return schema


def _open(path: str, schema: Any) -> list[str]:
    """Where an object takes names that the schema does not say."""
    if isinstance(schema, list):
        return [p for i, inner in enumerate(schema) for p in _open(f"{path}/{i}", inner)]
    if not isinstance(schema, dict):
        return []
    found = []
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        found.append(path.removeprefix("/"))
    for name, inner in schema.items():
        found += _open(f"{path}/{name}", inner)
    return [one for one in found if "settings/properties" not in one]
