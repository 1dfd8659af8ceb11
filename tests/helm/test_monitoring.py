"""What the chart makes for the Prometheus operator and for Grafana."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.helm.chart import FOLDER, Chart, Rendered
from tests.helm.test_alerts import NAMES

COMPONENT = "app.kubernetes.io/component"
ALL: dict[str, Any] = {
    "monitoring": {
        "podMonitors": {"enabled": True, "labels": {"release": "prometheus"}},
        "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True},
    }
}


@pytest.fixture
def found(chart: Chart) -> Rendered:
    return chart.render(ALL)


def rules(found: Rendered) -> list[dict[str, Any]]:
    groups = found.one("PrometheusRule", "alerts")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_nothing_of_it_is_made_unless_asked_for(chart: Chart) -> None:
    kinds = {one["kind"] for one in chart.render().objects}
    assert kinds.isdisjoint({"PodMonitor", "PrometheusRule"})
    assert not any("dashboard" in one["metadata"]["name"] for one in chart.render().objects)


@pytest.mark.parametrize("component", ["gateway", "engine", "moderation"])
def test_prometheus_reads_what_listens(found: Rendered, component: str) -> None:
    monitor = found.one("PodMonitor", component)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"][COMPONENT] == component
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    ports = [port["name"] for port in found.container(component)["ports"]]
    assert endpoint["port"] in ports
    assert endpoint["path"] == "/metrics"


def test_rollout_engines_are_read_where_there_are_any(chart: Chart) -> None:
    monitored = {"monitoring": {"podMonitors": {"enabled": True}}}
    assert not chart.render(monitored).has("PodMonitor", "rollout")
    with_rollouts = {**monitored, "rolloutEngine": {"enabled": True}}
    assert chart.render(with_rollouts).has("PodMonitor", "rollout")


def test_engines_are_read_with_the_token_that_their_gateways_have(found: Rendered) -> None:
    (endpoint,) = found.one("PodMonitor", "engine")["spec"]["podMetricsEndpoints"]
    token = found.env("gateway")["HONE_SERVING_ENGINE_TOKEN"]["secretKeyRef"]
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": token}


def test_every_alert_is_there_as_it_is_in_its_file(found: Rendered) -> None:
    written = [
        rule
        for path in sorted((FOLDER / "alerts").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert rules(found) == written


def test_alerts_can_be_left_out_and_say_where_the_runbooks_are(chart: Chart) -> None:
    options = {"enabled": True, "disabled": ["GateRefused"], "runbookUrl": "https://docs.example/"}
    left = rules(chart.render({"monitoring": {"alerts": options}}))
    assert {rule["alert"] for rule in left} == set(NAMES) - {"GateRefused"}
    for rule in left:
        url = f"https://docs.example/RUNBOOKS.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook_url"] == url


def test_engines_that_are_scaled_away_are_no_alert(chart: Chart) -> None:
    found = chart.render({"monitoring": {"alerts": {"enabled": True}}}, way="keda")
    assert {rule["alert"] for rule in rules(found)} == set(NAMES) - {"EngineDown"}


@pytest.mark.parametrize("name", ["serving", "feedback", "learning"])
def test_grafana_finds_a_dashboard_by_its_label(found: Rendered, name: str) -> None:
    config = found.one("ConfigMap", f"dashboard-{name}")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((file, text),) = config["data"].items()
    assert file == f"hone-{name}.json"
    assert json.loads(text) == json.loads((FOLDER / "dashboards" / f"{name}.json").read_text())


def test_a_label_of_all_objects_goes_before_one_s_own(chart: Chart) -> None:
    options = {"enabled": True, "labels": {"team": "mine", "release": "prometheus"}}
    found = chart.render({"commonLabels": {"team": "ours"}, "monitoring": {"alerts": options}})
    labels = found.one("PrometheusRule", "alerts")["metadata"]["labels"]
    assert (labels["team"], labels["release"]) == ("ours", "prometheus")
