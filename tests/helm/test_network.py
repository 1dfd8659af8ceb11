"""Who may speak to whom, as the NetworkPolicies have it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from tests.helm.chart import Chart, Rendered

COMPONENT = "app.kubernetes.io/component"


def policy(found: Rendered, component: str) -> dict[str, Any]:
    return dict(found.one("NetworkPolicy", component)["spec"])


def callers(found: Rendered, component: str) -> set[str]:
    """Components that may open a connection to this one."""
    return {
        peer["podSelector"]["matchLabels"][COMPONENT]
        for rule in policy(found, component)["ingress"]
        for peer in rule.get("from", [])
        if "podSelector" in peer
    }


def called(found: Rendered, component: str) -> set[str]:
    return {
        peer["podSelector"]["matchLabels"][COMPONENT]
        for rule in policy(found, component)["egress"]
        for peer in rule.get("to", [])
        if COMPONENT in peer.get("podSelector", {}).get("matchLabels", {})
    }


def test_whatever_is_not_allowed_is_denied_in_both_directions(chart: Chart) -> None:
    spec = chart.render().one("NetworkPolicy", "default-deny")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert "egress" not in spec
    assert COMPONENT not in spec["podSelector"]["matchLabels"]


def test_every_pod_has_a_policy_of_its_own(chart: Chart) -> None:
    found = chart.render(way="full-weights")
    assert all(found.has("NetworkPolicy", component) for component, _pod in found.pods())


def test_engines_take_traffic_only_from_gateways_and_workers(chart: Chart) -> None:
    found = chart.render()
    assert callers(found, "engine") == {
        *("gateway", "control", "train", "distributed"),
        "moderation",  # a guard model may be one of them
    }
    assert all("from" in rule for rule in policy(found, "engine")["ingress"])


def test_redis_takes_traffic_only_from_ours(chart: Chart) -> None:
    found = chart.render()
    ours = {"gateway", "moderation", "control", "train", "beat", "test", "distributed"}
    assert callers(found, "redis") == ours
    assert all("from" in rule for rule in policy(found, "redis")["ingress"])


def test_an_engine_opens_no_connection_at_all(chart: Chart) -> None:
    assert policy(chart.render(), "engine")["egress"] == []


def test_training_s_engines_speak_to_the_trainer_whose_weights_they_take(chart: Chart) -> None:
    assert called(chart.render(way="full-weights"), "rollout") == {"train", "distributed"}


@pytest.mark.parametrize("way", ["cpu", "full-weights"])
def test_what_one_may_call_lets_it_in(chart: Chart, way: str) -> None:
    found = chart.render(way=way)
    for component, _pod in found.pods():
        for other in called(found, component):
            if found.has("NetworkPolicy", other):
                is_open = any("from" not in rule for rule in policy(found, other)["ingress"])
                assert is_open or component in callers(found, other), (component, other)


def test_who_speaks_to_anybody_may_ask_for_names(chart: Chart) -> None:
    found = chart.render()
    for component, _pod in found.pods():
        rules = policy(found, component)["egress"]
        ports = {port["port"] for rule in rules for port in rule.get("ports", [])}
        assert not rules or 53 in ports, component


def test_webhooks_and_buckets_are_reached_and_networks_inside_are_not(chart: Chart) -> None:
    rules = policy(chart.render(), "control")["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    but = {block["cidr"]: set(block["except"]) for block in blocks}
    assert but.keys() == {"0.0.0.0/0", "::/0"}
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= but["0.0.0.0/0"]
    assert but["::/0"] == {"fc00::/7", "fe80::/10"}
    for world, inside in but.items():  # Kubernetes refuses an exception that is not within
        version = ip_network(world).version
        assert all(ip_network(network).version == version for network in inside)


def test_names_are_asked_for_at_the_ports_that_dns_has_there(chart: Chart) -> None:
    found = chart.render({"networkPolicy": {"dnsPorts": [5353]}})
    (names, *_) = policy(found, "gateway")["egress"]
    assert {(port["protocol"], port["port"]) for port in names["ports"]} == {
        ("UDP", 5353),
        ("TCP", 5353),
    }


def test_gateways_are_open_unless_somebody_is_named(chart: Chart) -> None:
    assert "from" not in policy(chart.render(), "gateway")["ingress"][0]
    (rule, metrics) = policy(chart.render(way="gpu"), "gateway")["ingress"]
    names = [peer.get("namespaceSelector") for peer in rule["from"]]
    assert {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}} in names
    assert {"matchLabels": {COMPONENT: "test"}}.items() <= {
        "matchLabels": {COMPONENT: rule["from"][-1]["podSelector"]["matchLabels"][COMPONENT]}
    }.items()
    assert metrics["ports"] == [{"protocol": "TCP", "port": 8000}]


def test_prometheus_reads_metrics_of_all_parts_where_it_is_named(chart: Chart) -> None:
    found = chart.render(way="gpu")
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    for component in ("gateway", "engine", "moderation"):
        peers = [p for rule in policy(found, component)["ingress"] for p in rule["from"]]
        assert {"namespaceSelector": monitoring} in peers


def test_a_redis_elsewhere_is_reached_at_its_address_and_port_alone(chart: Chart) -> None:
    rules = policy(chart.render(way="gpu"), "beat")["egress"]
    assert rules[1:] == [
        {
            "ports": [{"protocol": "TCP", "port": 6380}],
            "to": [{"ipBlock": {"cidr": "10.20.0.0/24"}}],
        }
    ]


def test_further_rules_are_the_operator_s_to_add(chart: Chart) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 4318}]}
    found = chart.render({"networkPolicy": {"extraEgress": {"gateway": [rule]}}})
    assert rule in policy(found, "gateway")["egress"]


def test_they_can_be_left_out(chart: Chart) -> None:
    assert chart.render(way="serving").all("NetworkPolicy") == []
