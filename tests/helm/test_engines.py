"""Engines: how they start, when they are ready, and how they go."""

from __future__ import annotations

import json
import re

from tests.helm.chart import ROOT, Chart


def test_they_are_run_as_the_command_line_has_it(chart: Chart) -> None:
    container = chart.render().container("engine")
    assert (container["command"], container["args"]) == (["hone"], ["engine"])


def test_a_model_is_split_over_the_gpus_of_an_engine(chart: Chart) -> None:
    container = chart.render(way="full-weights").container("engine")
    assert container["args"] == ["engine", "--tensor-parallel-size=2"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_without_a_gpu_none_is_asked_for(chart: Chart) -> None:
    limits = chart.render().container("engine")["resources"]["limits"]
    assert "nvidia.com/gpu" not in limits


def test_one_is_ready_when_it_has_what_the_gateways_want(chart: Chart) -> None:
    container = chart.render().container("engine")
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["startupProbe"]["httpGet"]["path"] == "/health"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_gateways_reach_engines_that_are_not_ready_since_they_load_the_version(
    chart: Chart,
) -> None:
    service = chart.render().one("Service", "engine")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True


def test_one_that_goes_takes_no_more_and_finishes_what_it_has(chart: Chart) -> None:
    found = chart.render({"timeouts": {"answerSeconds": 700, "fullWeightsDrainSeconds": 15}})
    pre_stop = found.container("engine")["lifecycle"]["preStop"]["exec"]["command"]
    assert pre_stop == ["hone", "drain", "--wait-s", "700"]
    assert found.pod("engine")["terminationGracePeriodSeconds"] > 700 + 15


def test_loading_a_large_model_is_no_reason_to_kill_one(chart: Chart) -> None:
    probe = chart.render({"engine": {"startupSeconds": 5400}}).container("engine")["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 5400


def test_all_start_at_once_and_are_updated_one_by_one(chart: Chart) -> None:
    spec = chart.render(way="gpu").one("StatefulSet", "engine")["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert spec["serviceName"] == "hone-engine"


def test_shared_memory_is_in_memory_and_bounded(chart: Chart) -> None:
    found = chart.render()
    (shm,) = [v for v in found.pod("engine")["volumes"] if v["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in found.container("engine")["volumeMounts"]


def test_compiled_kernels_are_kept_in_home_which_may_be_a_disk(chart: Chart) -> None:
    found = chart.render(way="gpu")
    assert found.env("engine")["HOME"] == "/cache"
    (claim,) = found.one("StatefulSet", "engine")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "cache"


def test_one_restarts_for_its_own_settings_and_for_no_others(chart: Chart) -> None:
    def checksum(**settings: object) -> str:
        found = chart.render({"settings": settings}).one("StatefulSet", "engine")
        return str(found["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    before = checksum()
    assert checksum(HONE_SERVING_CANARY_SHARE=0.1, HONE_FEEDBACK_OVERLAP_LABELERS=4) == before
    assert checksum(HONE_SERVING_MAX_LORAS=8) != before


def test_it_is_told_every_setting_that_its_code_reads(chart: Chart) -> None:
    sources = [*(ROOT / "serving" / "in_vllm").glob("*.py"), ROOT / "serving" / "artifact.py"]
    read = {
        f"HONE_SERVING_{name.upper()}"
        for source in sources
        for name in re.findall(r"settings\.([a-z_]+)", source.read_text())
    } - {"HONE_SERVING_WEIGHT_TRANSFER"}  # of rollout engines
    own = ("_DIR", "BASE_MODEL", "_HOST", "_PORT", "_TOKEN", "DRAIN_S")  # the chart sets them
    settings = {name: _default(name) for name in read if not name.endswith(own)}
    told = set(chart.render({"settings": settings}).env("engine"))
    assert read - told == set()


def test_an_engine_knows_nothing_of_redis(chart: Chart) -> None:
    env = chart.render(way="full-weights").env("engine")
    assert not any("REDIS" in name for name in env)


def test_the_model_is_fetched_once_by_a_job_and_engines_wait_for_it(chart: Chart) -> None:
    found = chart.render(way="gpu")
    assert found.container("model")["args"] == ["model", "prepare", "Qwen/Qwen2.5-7B-Instruct"]
    (waiting,) = found.pod("engine")["initContainers"]
    assert "config.json" in waiting["command"][2]
    base = found.env("engine")["HONE_SERVING_BASE_MODEL"]
    assert base == "/data/models/Qwen--Qwen2.5-7B-Instruct"


def test_the_job_puts_the_model_where_the_engines_look_for_it(chart: Chart) -> None:
    from serving.settings import ServingSettings

    env = chart.render().env("engine")
    settings = ServingSettings(data_dir=env["HONE_SERVING_DATA_DIR"], engine_token="x" * 16)
    assert str(settings.base_model) == env["HONE_SERVING_BASE_MODEL"]


def test_another_model_makes_another_job(chart: Chart) -> None:
    def job(hub: str) -> str:
        (found,) = chart.render({"model": {"hub": hub}}).all("Job")
        return str(found["metadata"]["name"])

    assert job("a/b") != job("a/c")


def test_a_model_that_is_there_already_is_not_fetched(chart: Chart) -> None:
    found = chart.render(way="full-weights")
    assert found.all("Job") == []
    assert "initContainers" not in found.pod("engine")
    assert found.env("engine")["HONE_SERVING_BASE_MODEL"] == "/data/models/policy-7b"


def test_only_the_job_that_fetches_sees_the_hub_s_token(chart: Chart) -> None:
    found = chart.render({"model": {"hub": "a/b", "existingSecret": "hub"}})
    seeing = [
        name
        for name, pod in found.pods()
        if any(entry["name"] == "HF_TOKEN" for entry in pod["containers"][0]["env"])
    ]
    assert seeing == ["model"]


def test_keda_counts_the_requests_that_wait_in_this_release_s_engines(chart: Chart) -> None:
    found = chart.render(way="keda")
    assert "replicas" not in found.one("StatefulSet", "engine")["spec"]
    spec = found.one("ScaledObject", "engine")["spec"]
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)
    query = spec["triggers"][0]["metadata"]["query"]
    assert query == ('sum(vllm:num_requests_waiting{namespace="ns", pod=~"hone-engine-[0-9]+"})')


def test_training_s_own_engines_take_weights_and_serve_nobody(chart: Chart) -> None:
    found = chart.render(way="full-weights")
    assert found.env("rollout")["HONE_SERVING_WEIGHT_TRANSFER"] == "nccl"
    assert found.container("rollout")["readinessProbe"]["httpGet"]["path"] == "/health"
    urls = json.loads(found.env("train")["HONE_TRAINING_ROLLOUT_ENGINE_URLS"])
    assert urls == [f"http://hone-rollout-{i}.hone-rollout:8100" for i in range(2)]
    assert "rollout" not in found.env("gateway")["HONE_SERVING_ENGINE_URLS"]
    assert "HONE_SERVING_WEIGHT_TRANSFER" not in found.env("engine")


def _default(name: str) -> object:
    from serving.settings import ServingSettings

    default = ServingSettings.model_fields[name.removeprefix("HONE_SERVING_").lower()].default
    return list(default) if isinstance(default, tuple) else default
