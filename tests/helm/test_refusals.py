"""Values that do not go together, or are not values at all: each is refused, with the cure."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.helm.chart import FOLDER, Chart, Refused

MESSAGES = re.findall(
    r'append \$problems \(?(?:printf )?"([^"]+)"',
    (FOLDER / "templates" / "validations.yaml").read_text(),
)
REDIS: dict[str, Any] = {"redis": {"existingSecret": "mine"}}

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("none of three ways are set; set one", {}, ""),
    ("several of three ways are set", {"redis": {"url": "redis://x"}}, "cpu"),
    ("the bundled Redis speaks no TLS", {"redis": {"tls": {"caSecret": "ca"}}}, "cpu"),
    (
        "begin it with rediss://",
        {"redis": {"url": "redis://x", "tls": {"caSecret": "ca"}}},
        "",
    ),
    (
        "it may have none of its own",
        {"redis": {"url": "rediss://x?a=b", "tls": {"caSecret": "ca"}}},
        "",
    ),
    ("fewer than 16 characters", {"engineToken": {"value": "short"}}, "cpu"),
    (
        "value and existingSecret are both set",
        {"engineToken": {"value": "x" * 16, "existingSecret": "mine"}},
        "cpu",
    ),
    ("hub and path are both set", {"model": {"hub": "a/b", "path": "c"}}, "cpu"),
    (
        "take ReadWriteMany, or set artifacts.singleNode=true",
        {"artifacts": {"singleNode": False}},
        "cpu",
    ),
    ("inside a container and gone with it", {"archive": {"url": "archive"}}, "cpu"),
    (
        "gateway.autoscaling: minReplicas is over maxReplicas",
        {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}}},
        "cpu",
    ),
    (
        "engine.keda: minReplicas is over maxReplicas",
        {"engine": {"keda": {"minReplicas": 9}}},
        "keda",
    ),
    (
        "set engine.keda.prometheusAddress",
        {"engine": {"keda": {"prometheusAddress": ""}}},
        "keda",
    ),
    (
        "requests wait 20 s for an engine, no longer than it drains",
        {"timeouts": {"fullWeightsDrainSeconds": 20}},
        "cpu",
    ),
    ("ingress.hosts: none is named", {"ingress": {"enabled": True}}, "cpu"),
    ("httpRoute.parentRefs: no Gateway is named", {"httpRoute": {"enabled": True}}, "cpu"),
    (
        "moderation: enabled, and externalURL names another one",
        {"moderation": {"externalURL": "http://x"}},
        "cpu",
    ),
    (
        "without a moderation server every request is answered 503",
        {"moderation": {"enabled": False}},
        "cpu",
    ),
    (
        "moderation.backend.url: guard judges on a server",
        {"moderation": {"backend": {"kind": "guard"}}},
        "cpu",
    ),
    (
        "moderation.backend.model: hf needs the classifier's folder",
        {"moderation": {"backend": {"kind": "hf"}}},
        "cpu",
    ),
    ("OpenAI asks for a key", {"moderation": {"backend": {"kind": "openai"}}}, "cpu"),
    (
        "7b-full trains all weights, which needs engines of training's own",
        {"training": {"recipe": "7b-full"}},
        "cpu",
    ),
    (
        "nccl sends from GPU to GPU",
        {"rolloutEngine": {"enabled": True, "weightTransfer": "nccl", "gpus": 0}},
        "cpu",
    ),
    (
        "distributed.roundDir: the round's folder is not named",
        {"distributed": {"roundDir": ""}},
        "distributed",
    ),
    (
        "the train worker would work on the same round",
        {"worker": {"train": {"enabled": True}}},
        "distributed",
    ),
    (
        "settings.HONE_SERVING_ENGINE_URLS: the chart sets it; set engine.replicas or engine.keda",
        {"settings": {"HONE_SERVING_ENGINE_URLS": ["http://x"]}},
        "cpu",
    ),
    (
        "there is no volume notes; add it to worker.train.extraVolumes",
        {"worker": {"train": {"extraVolumeMounts": [{"name": "notes", "mountPath": "/n"}]}}},
        "cpu",
    ),
    (
        "something is mounted at /data already; choose another path",
        {
            "gateway": {
                "extraVolumes": [{"name": "notes", "configMap": {"name": "notes"}}],
                "extraVolumeMounts": [{"name": "notes", "mountPath": "/data"}],
            }
        },
        "cpu",
    ),
    (
        "create is true and existingName is set",
        {"serviceAccounts": {"existingName": "mine"}},
        "cpu",
    ),
]


@pytest.mark.parametrize(("message", "values", "way"), WRONG, ids=[wrong[0] for wrong in WRONG])
def test_what_does_not_go_together_is_refused_with_the_cure(
    chart: Chart, message: str, values: dict[str, Any], way: str
) -> None:
    said = chart.refusal(values, way)
    assert message in said
    assert "These values do not go together" in said


def test_every_refusal_of_the_chart_is_among_these(chart: Chart) -> None:
    said = "\n".join(chart.refusal(values, way) for _message, values, way in WRONG)
    patterns = [re.escape(text).replace("%s", ".*").replace("%v", ".*") for text in MESSAGES]
    assert len(patterns) > 25
    assert [pattern for pattern in patterns if not re.search(pattern, said)] == []


def test_all_that_is_wrong_is_said_at_once(chart: Chart) -> None:
    values = {"ingress": {"enabled": True}, "httpRoute": {"enabled": True}}
    with pytest.raises(Refused, match=r"(?s)ingress\.hosts.*httpRoute\.parentRefs"):
        chart.text(values, "cpu")


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replica": 3}}, "replica"),
        ({"engine": {"keda": {"max": 3}}}, "max"),
        ({"gateway": {"replicas": "three"}}, "gateway/replicas"),
        ({"worker": {"train": {"replicas": 2}}}, "worker/train/replicas"),
        ({"artifacts": {"accessMode": "ReadWriteOncePod"}}, "artifacts/accessMode"),
        ({"gateway": {"extraVolumes": [{"name": "x", "hostPath": {"path": "/"}}]}}, "hostPath"),
        (
            {"gateway": {"extraContainers": [{"name": "x", "image": "y", "securityContext": {}}]}},
            "securityContext",
        ),
        ({"settings": {"HONE_SERVING_MAX_LORA": 3}}, "HONE_SERVING_MAX_LORA"),
        ({"settings": {"HONE_SERVING_MAX_LORAS": 0}}, "HONE_SERVING_MAX_LORAS"),
        ({"gateway": {"extraEnv": [{"name": "HONE_SERVING_PORT", "value": "1"}]}}, "extraEnv"),
        ({"security": {"user": 0}}, "security/user"),
        ({"training": {"recipe": "7b"}}, "'7b-lora', 'cpu-demo'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_nobody_reads_or_that_cannot_be_is_refused_by_its_name(
    chart: Chart, values: dict[str, Any], where: str
) -> None:
    said = chart.refusal(values, "cpu")
    assert where in said
    assert "schema" in said


def test_a_kubernetes_that_is_too_old_is_refused(chart: Chart) -> None:
    with pytest.raises(Refused, match=r"kubeVersion: >=1\.29\.0-0"):
        chart.text({}, "cpu", "--kube-version", "1.28.0")
