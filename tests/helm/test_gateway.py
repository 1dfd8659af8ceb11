"""The gateway: how it is started, asked, updated, stopped and reached."""

from __future__ import annotations

import json
from typing import cast

from starlette.routing import Route

from tests.helm.chart import Chart

ANSWER_S = 300


def test_it_is_run_as_the_command_line_has_it(chart: Chart) -> None:
    container = chart.render().container("gateway")
    assert (container["command"], container["args"]) == (["hone"], ["gateway"])


def test_it_knows_every_engine_by_its_own_name(chart: Chart) -> None:
    urls = json.loads(chart.render(way="gpu").env("gateway")["HONE_SERVING_ENGINE_URLS"])
    assert urls == [f"http://hone-engine-{i}.hone-engine:8100" for i in range(4)]


def test_it_knows_the_engines_that_keda_may_start_beforehand(chart: Chart) -> None:
    urls = json.loads(chart.render(way="keda").env("gateway")["HONE_SERVING_ENGINE_URLS"])
    assert len(urls) == 8


def test_a_new_one_takes_no_traffic_before_it_could_answer_once(chart: Chart) -> None:
    probe = chart.render().container("gateway")["startupProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 3600


def test_its_rollout_does_not_fail_while_it_may_wait_for_engines(chart: Chart) -> None:
    found = chart.render({"gateway": {"startupSeconds": 3600}})
    assert found.one("Deployment", "gateway")["spec"]["progressDeadlineSeconds"] > 3600


def test_an_engine_that_is_away_takes_no_gateway_out_of_its_service(chart: Chart) -> None:
    container = chart.render().container("gateway")
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_it_is_given_time_for_the_longest_answer(chart: Chart) -> None:
    found = chart.render({"timeouts": {"answerSeconds": 900}, "gateway": {"preStopSeconds": 20}})
    pod, env = found.pod("gateway"), found.env("gateway")
    assert env["HONE_SERVING_REQUEST_TIMEOUT_S"] == env["HONE_SERVING_SHUTDOWN_S"] == "900"
    before = found.container("gateway")["lifecycle"]["preStop"]["exec"]["command"]
    assert before == ["sh", "-c", "kill -USR1 1 && sleep 20"]
    assert pod["terminationGracePeriodSeconds"] >= 20 + 900


def test_an_update_never_has_one_less(chart: Chart) -> None:
    strategy = chart.render().one("Deployment", "gateway")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_its_outbox_is_a_disk_of_its_own_where_it_is_to_persist(chart: Chart) -> None:
    found = chart.render(way="gpu")
    assert not found.has("Deployment", "gateway")
    spec = found.one("StatefulSet", "gateway")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "outbox"
    assert all(volume["name"] != "outbox" for volume in found.pod("gateway")["volumes"])
    folder = found.env("gateway")["HONE_FEEDBACK_OUTBOX_PATH"].rpartition("/")[0]
    mounts = {m["name"]: m["mountPath"] for m in found.container("gateway")["volumeMounts"]}
    assert mounts["outbox"] == folder


def test_it_only_reads_models_and_rounds(chart: Chart) -> None:
    mounts = {m["name"]: m for m in chart.render().container("gateway")["volumeMounts"]}
    assert mounts["data"] == {"name": "data", "mountPath": "/data", "readOnly": True}


def test_an_autoscaler_takes_the_number_of_replicas_over(chart: Chart) -> None:
    found = chart.render(way="gpu")
    assert "replicas" not in found.one("StatefulSet", "gateway")["spec"]
    spec = found.one("HorizontalPodAutoscaler", "gateway")["spec"]
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 20)


def test_a_node_that_is_emptied_takes_one_at_a_time(chart: Chart) -> None:
    spec = chart.render().one("PodDisruptionBudget", "gateway")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_an_ingress_holds_no_words_of_a_stream_back_and_waits_for_the_longest(
    chart: Chart,
) -> None:
    ingress = chart.render(way="gpu").one("Ingress", "gateway")
    said = {
        name.removeprefix("nginx.ingress.kubernetes.io/"): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    assert said["proxy-buffering"] == said["proxy-request-buffering"] == "off"
    assert int(said["proxy-read-timeout"]) > ANSWER_S
    assert ingress["spec"]["rules"][0]["host"] == "chat.example.com"


def test_an_ingress_takes_bodies_as_large_as_the_gateway_does(chart: Chart) -> None:
    from serving.settings import ServingSettings

    ingress = chart.render(way="gpu").one("Ingress", "gateway")
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 1_000_000 >= (
        ServingSettings.model_fields["max_body_bytes"].default
    )


def test_it_believes_an_ingress_or_a_route_that_people_came_by_tls(chart: Chart) -> None:
    said = [chart.render(way=way).env("gateway") for way in ("gpu", "gateway-api")]
    assert [env["FORWARDED_ALLOW_IPS"] for env in said] == ["*", "*"]
    assert "FORWARDED_ALLOW_IPS" not in chart.render().env("gateway")


def test_a_route_of_the_gateway_api_does_the_same(chart: Chart) -> None:
    rules = chart.render(way="gateway-api").one("HTTPRoute", "gateway")["spec"]["rules"]
    assert rules
    for rule in rules:
        (header,) = rule["filters"][0]["responseHeaderModifier"]["set"]
        assert header == {"name": "X-Accel-Buffering", "value": "no"}
        assert int(rule["timeouts"]["request"].removesuffix("s")) > ANSWER_S


def test_from_outside_all_is_reached_but_metrics_and_probes(chart: Chart) -> None:
    first = {"/" + route.path.split("/")[1] for route in _routes()}
    assert {"/", "/v1", "/label", "/console", "/metrics"} <= first
    (rule,) = chart.render(way="gpu").one("Ingress", "gateway")["spec"]["rules"]
    open_ones = {entry["path"]: entry["pathType"] for entry in rule["http"]["paths"]}
    assert first - open_ones.keys() == {"/metrics", "/healthz", "/readyz"}
    assert open_ones.keys() <= first
    # As a prefix it would take them all in.
    assert {path for path, kind in open_ones.items() if kind == "Exact"} == {"/"}
    rules = chart.render(way="gateway-api").one("HTTPRoute", "gateway")["spec"]["rules"]
    paths = [match["path"] for rule in rules for match in rule["matches"]]
    routed = {path["value"]: path["type"].removeprefix("Path") for path in paths}
    assert routed == open_ones


def _routes() -> list[Route]:
    from serving.app import create_app
    from serving.settings import ServingSettings

    app = create_app(ServingSettings(engine_token="-" * 16))
    assert all(isinstance(route, Route) for route in app.routes)
    return cast("list[Route]", app.routes)


def test_its_service_leads_to_the_port_it_listens_on(chart: Chart) -> None:
    found = chart.render()
    (port,) = found.one("Service", "gateway")["spec"]["ports"]
    (listening,) = found.container("gateway")["ports"]
    assert port["targetPort"] == listening["name"]
    assert str(listening["containerPort"]) == found.env("gateway")["HONE_SERVING_PORT"]
