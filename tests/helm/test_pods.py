"""Every pod, however the chart is set: what it may do, and that it says how much it needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import WAYS, Chart, containers, pod_of
from tests.helm.invariants import broken

NAMES = [path.name.removesuffix("-values.yaml") for path in WAYS]


@pytest.mark.parametrize("way", NAMES)
def test_every_pod_keeps_to_the_restricted_standard_and_has_no_token(
    chart: Chart, way: str
) -> None:
    assert broken(chart.render(way=way)) == []


def test_an_extra_container_gets_the_same_bounds_as_ours(chart: Chart) -> None:
    extra = {"name": "proxy", "image": "envoy:1"}
    found = chart.render({"gateway": {"extraContainers": [extra]}})
    proxy = found.pod("gateway")["containers"][1]
    assert proxy["name"] == "proxy"
    assert proxy["securityContext"] == found.container("gateway")["securityContext"]


def test_on_openshift_the_platform_chooses_the_user(chart: Chart) -> None:
    context = chart.render(way="serving").pod("gateway")["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_root_file_system_is_read_only_and_tmp_is_a_volume_with_a_limit(chart: Chart) -> None:
    for _component, pod in chart.render().pods():
        assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in containers(pod))
        (tmp,) = [volume for volume in pod["volumes"] if volume["name"] == "tmp"]
        assert tmp["emptyDir"]["sizeLimit"]


def test_every_part_has_a_service_account_of_its_own_without_a_token(chart: Chart) -> None:
    found = chart.render()
    accounts = {account["metadata"]["name"]: account for account in found.all("ServiceAccount")}
    used = {pod["serviceAccountName"] for _component, pod in found.pods()}
    assert used == accounts.keys()
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())


def test_nobody_gets_rights_in_kubernetes(chart: Chart) -> None:
    kinds = {found["kind"] for found in chart.render().objects}
    assert kinds.isdisjoint({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})


def test_a_cloud_s_role_goes_to_the_parts_that_reach_the_bucket(chart: Chart) -> None:
    found = chart.render(way="s3")
    annotated = {
        account["metadata"]["name"]
        for account in found.all("ServiceAccount")
        if account["metadata"].get("annotations")
    }
    assert annotated == {"hone-control", "hone-train", "hone-gateway"}


def test_without_service_accounts_of_its_own_it_names_the_one_given(chart: Chart) -> None:
    values = {"serviceAccounts": {"create": False, "existingName": "mine"}}
    found = chart.render(values)
    assert found.all("ServiceAccount") == []
    assert {pod["serviceAccountName"] for _component, pod in found.pods()} == {"mine"}


def test_a_digest_goes_before_a_tag_and_the_registry_before_both(chart: Chart) -> None:
    digest = "sha256:" + "a" * 64
    values = {
        "image": {"registry": "example.com/team", "tag": "2"},
        "gateway": {"image": {"digest": digest}},
        "moderation": {"image": {"tag": "3"}},
    }
    found = chart.render(values)
    assert found.container("gateway")["image"] == f"example.com/team/hone-gateway@{digest}"
    assert found.container("moderation")["image"] == "example.com/team/hone-moderation:3"
    assert found.container("beat")["image"] == "example.com/team/hone-worker:2"
    assert found.container("redis")["image"] == "docker.io/valkey/valkey:8.1-alpine"


def test_pull_secrets_go_to_every_pod(chart: Chart) -> None:
    found = chart.render({"image": {"pullSecrets": [{"name": "mine"}]}})
    assert all(pod["imagePullSecrets"] == [{"name": "mine"}] for _component, pod in found.pods())


def test_where_pods_go_is_for_each_part_to_say(chart: Chart) -> None:
    found = chart.render(way="gpu")
    tolerated = {name for name, pod in found.pods() if pod.get("tolerations")}
    assert tolerated == {"engine", "train"}


def test_gateways_spread_over_zones_and_nodes(chart: Chart) -> None:
    spread = chart.render().pod("gateway")["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    selector = spread[0]["labelSelector"]["matchLabels"]
    assert selector["app.kubernetes.io/component"] == "gateway"


def test_a_selector_finds_the_pods_of_its_part_and_no_other(chart: Chart) -> None:
    found = chart.render(way="full-weights")
    for workload in (*found.all("Deployment"), *found.all("StatefulSet")):
        wanted = workload["spec"]["selector"]["matchLabels"]
        matched = [
            other["metadata"]["name"]
            for other in (*found.all("Deployment"), *found.all("StatefulSet"))
            if wanted.items() <= other["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert matched == [workload["metadata"]["name"]]
        assert pod_of(workload)["containers"]


def test_a_release_s_name_is_in_front_unless_it_says_hone_already(chart: Chart) -> None:
    renamed = chart.render({"fullnameOverride": "chat"})
    names = {found["metadata"]["name"] for found in renamed.objects}
    assert all(name.startswith("chat") for name in names)


def test_extra_labels_annotations_variables_and_volumes_arrive(chart: Chart) -> None:
    values = {
        "commonLabels": {"team": "chat"},
        "gateway": {
            "podLabels": {"tier": "front"},
            "podAnnotations": {"example.com/note": "x"},
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
            "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
            "extraVolumes": [{"name": "notes", "configMap": {"name": "notes"}}],
            "extraVolumeMounts": [{"name": "notes", "mountPath": "/notes"}],
        },
    }
    found = chart.render(values)
    template = found.one("Deployment", "gateway")["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert (
        template["metadata"]["labels"] | {"tier": "front", "team": "chat"}
        == (template["metadata"]["labels"])
    )
    assert template["metadata"]["annotations"]["example.com/note"] == "x"
    assert found.env("gateway")["HTTPS_PROXY"] == "http://proxy"
    assert {"configMapRef": {"name": "more"}} in container["envFrom"]
    assert {"name": "notes", "mountPath": "/notes"} in container["volumeMounts"]
    assert all(o["metadata"]["labels"]["team"] == "chat" for o in found.objects)


def test_objects_of_the_operator_s_own_are_filled_in(chart: Chart) -> None:
    found = chart.render(way="serving")
    assert found.one("ConfigMap", "house-rules")["data"] == {"rules": "be kind"}


@pytest.mark.parametrize("way", ["cpu", "gpu", "distributed"])
def test_an_upgrade_changes_nothing_that_kubernetes_lets_nobody_change(
    chart: Chart, way: str
) -> None:
    values = {
        "image": {"tag": "0.2.0"},
        "commonLabels": {"team": "language"},
        "security": {"user": 10002},
        "archive": {"url": "s3://other"},
        "settings": {"HONE_SERVING_MAX_LORAS": 2},
        "model": {"tolerations": [{"operator": "Exists"}]},
    }
    before, after = chart.render(way=way), chart.render(values, way=way)
    compared = 0
    for kind, fields in _FIXED.items():
        there = {found["metadata"]["name"]: found["spec"] for found in before.all(kind)}
        for found in after.all(kind):
            old = there.get(found["metadata"]["name"], found["spec"])
            for field in fields:
                assert old.get(field) == found["spec"].get(field), (kind, field)
                compared += 1
    assert compared > 10


def test_the_same_values_make_the_same_jobs(chart: Chart) -> None:
    def names(values: dict[str, Any], way: str) -> list[str]:
        return [job["metadata"]["name"] for job in chart.render(values, way=way).all("Job")]

    for way in ("gpu", "distributed"):
        assert names({}, way) == names({"gateway": {"replicas": 5}}, way)


_FIXED = {
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    "Job": ("template", "completions", "completionMode"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName"),
}
