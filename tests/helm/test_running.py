"""The chart's processes, run as the chart would run them, and restarted one after the other under load.

Every container, with its command, settings, volumes, rights, probes, network policies and end, comes from a
real `helm template`; the kubelet is ours (tests/helm/kubelet), and needs root on Linux.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.helm.chart import Chart
from tests.helm.customers import Customers, Tally
from tests.helm.kubelet.cluster import Cluster, running
from tests.helm.kubelet.manifests import Manifests
from tests.helm.kubelet.network import own_network
from tests.helm.kubelet.pods import Pod
from tests.tiny_model import write_tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

START_S = 600.0  # for all of it, on a busy machine
ONE_THREAD = [
    {"name": "OMP_NUM_THREADS", "value": "1"},
    {"name": "OMP_WAIT_POLICY", "value": "PASSIVE"},
    {"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "nobind"},
]
VALUES: dict[str, Any] = {  # on top of helm/ci/cpu-values.yaml
    "timeouts": {"answerSeconds": 60},
    "model": {"path": "models/tiny"},
    "training": {"recipe": "tiny"},
    "settings": {
        "HONE_SERVING_MAX_MODEL_LEN": 256,
        "HONE_SERVING_MODERATION_TIMEOUT_S": 60,  # a busy machine is no failure of the chart's
        "HONE_FEEDBACK_SUPPLY_TARGET": 0,
    },
    "gateway": {"replicas": 2, "preStopSeconds": 5},
    "moderation": {"replicas": 2, "preStopSeconds": 5, "extraEnv": ONE_THREAD},
    "engine": {"replicas": 2, "extraEnv": ONE_THREAD},
    "worker": {"beat": {"replicas": 2}, "train": {"extraEnv": ONE_THREAD}},
}
PUBLISH = """
from pathlib import Path
from feedback.connection import connect
from feedback.settings import FeedbackSettings
from tests.chaos.versions import publish
with connect(FeedbackSettings().redis_url) as client:
    print(publish(client, kind="adapter", base=Path("/data/models/tiny"), policies=Path("/data/policies"), seed=1))
"""
SEEN = """
import json
from feedback import eventlog
from feedback.connection import connect
from feedback.settings import FeedbackSettings
with connect(FeedbackSettings().redis_url) as client:
    print(json.dumps([event.id for _, event in eventlog.read(client, "feedback")]))
"""


def why_not() -> str | None:
    """What a kubelet needs, and this machine or this user does not have."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces and mounts need root on Linux"
    commands = ("ip", "iptables-restore", "nsenter", "unshare", "setpriv", "chroot", "redis-server")
    if missing := [name for name in (*commands, "redis-cli") if shutil.which(name) is None]:
        return f"not on this machine: {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "iptables-restore"],
        input="*nat\nCOMMIT\n*filter\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n",
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces or iptables here: {tried.stderr}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory, chart: Chart) -> AsyncIterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM on this machine")
    folder = tmp_path_factory.mktemp("cluster")
    write_tiny_model(folder / "claims" / "hone-artifacts" / "models" / "tiny")
    subprocess.run(["chown", "-R", "10001:10001", folder / "claims" / "hone-artifacts"], check=True)
    with own_network():
        async with running(Manifests.read(chart.text(VALUES, "cpu")), folder) as cluster:
            await cluster.apply()
            await cluster.until_ready(timeout_s=START_S)
            yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin_key(cluster: Cluster) -> str:
    return await _key(cluster, "infer", "label", "admin")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def customers(cluster: Cluster) -> Customers:
    key = await _key(cluster, "infer", "label")
    return Customers(f"http://{cluster.address('hone-gateway')}", key)


async def _key(cluster: Cluster, *scopes: str) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    limits = ["--requests-per-minute", "1000000", "--tokens-per-minute", "1000000000"]
    command = ["hone", "keys", "create", "--name", "test", *words, *limits, "--json"]
    code, said = await cluster.run("hone-gateway", command)
    assert code == 0, said
    return str(json.loads(said)["key"])


async def test_all_pods_become_ready_by_their_own_probes(cluster: Cluster) -> None:
    sys.stdout.write(cluster.report() + "\n")
    for workload in cluster.workloads.values():
        assert workload.is_ready
        for pod in workload.pods:
            assert pod.num_restarts == 0, cluster.report()


async def test_processes_have_no_rights_and_a_root_that_cannot_be_written(cluster: Cluster) -> None:
    for name in cluster.workloads:
        _, said = await cluster.run(name, ["sh", "-c", "id -u; cat /proc/1/status; touch /x"])
        assert said.startswith("10001\n"), name
        assert "NoNewPrivs:\t1" in said
        assert "CapBnd:\t0000000000000000" in said
        assert "Read-only file system" in said


async def test_helm_test_passes(cluster: Cluster) -> None:
    pod = await cluster.helm_test("hone-test", timeout_s=120)
    assert set(pod.exit_codes.values()) == {0}, cluster.log(pod)
    assert cluster.log(pod).count("OK  ") == 3


@pytest.mark.parametrize(
    ("source", "target", "port", "may"),
    [
        ("hone-gateway", "hone-engine", 8100, True),
        ("hone-control", "hone-engine", 8100, True),
        ("hone-moderation", "hone-redis", 6379, True),
        ("hone-beat", "hone-redis", 6379, True),
        ("hone-beat", "hone-engine", 8100, False),
        ("hone-engine", "hone-redis", 6379, False),
        ("hone-engine", "hone-moderation", 8200, False),
        ("hone-moderation", "hone-gateway", 8000, False),
        ("hone-moderation", "hone-moderation", 8200, False),
    ],
)
async def test_a_pod_reaches_what_its_network_policy_says_and_nothing_else(
    cluster: Cluster, source: str, target: str, port: int, may: bool
) -> None:
    """Each side's policy is real packet filtering here."""
    address = (cluster.pods(target)[-1].ip, port)
    knock = f"import socket; socket.create_connection({address!r}, 3)"
    code, said = await cluster.run(source, ["python", "-c", knock])
    assert (code == 0) is may, said
    assert may or "timed out" in said


async def test_a_promotion_reaches_both_engines(
    cluster: Cluster, admin_key: str, customers: Customers
) -> None:
    code, said = await cluster.run("hone-control", ["python", "-c", PUBLISH], timeout_s=90)
    assert code == 0, said
    version = said.split()[-1]
    async with customers.asking() as tally:
        await asyncio.sleep(2)
        await _promote(cluster, admin_key, version)
        await asyncio.sleep(2)
    assert tally.failures == []
    assert tally.outcomes["whole"] > 0
    assert [await _loaded(cluster, pod.ip) for pod in cluster.pods("hone-engine")] == 2 * [
        {"policy-0000", version}
    ]


async def _promote(cluster: Cluster, key: str, version: str) -> None:
    url = f"http://{cluster.address('hone-gateway')}/admin/policies/{version}/promote"
    body = {"reason": "a test", "override": "a test"}
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(url, json=body) as response:
            assert response.status == 200, await response.text()


async def _loaded(cluster: Cluster, ip: str) -> set[str]:
    token = cluster.manifests.data("Secret", "hone")["engine-token"]
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"http://{ip}:8100/policy") as response:
            return {entry["version"] for entry in (await response.json())["loaded"]}


@pytest.mark.parametrize(
    "name",
    ["hone-gateway", "hone-moderation", "hone-engine", "hone-control", "hone-beat", "hone-train"],
)
async def test_a_rolling_restart_under_load_fails_no_request(
    cluster: Cluster, customers: Customers, name: str
) -> None:
    num_gone = len(cluster.workloads[name].gone)
    async with customers.asking() as tally:
        await asyncio.sleep(2)
        began = time.monotonic()
        workload = await cluster.rollout_restart(name, timeout_s=600)
        took_s = time.monotonic() - began
        await asyncio.sleep(2)
    gone, grace_s = workload.gone[num_gone:], workload.spec["template"]["spec"]
    drains_s = [round(pod.drain_s or 0, 1) for pod in gone]
    ready_s = [round(pod.ready_s or 0, 1) for pod in workload.pods]
    sys.stdout.write(
        f"{name}: {_shown(tally)}, {took_s:.0f} s; drained in {drains_s} of "
        f"{grace_s['terminationGracePeriodSeconds']} s; new ones ready after {ready_s} s\n"
    )
    assert tally.failures == [], cluster.report()
    assert tally.num_asked_again == 0
    assert not any(pod.was_killed for pod in gone)
    assert tally.outcomes["stream"] > 0
    assert tally.outcomes["judged"] > 0


def _shown(tally: Tally) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.outcomes.items()))
    failed = "; ".join([str(len(tally.failures)), *tally.failures[:5]])
    return (
        f"{tally.num_requests} requests ({kinds}), {failed} failed, {tally.num_asked_again} asked again, "
        f"longest {tally.longest_s:.1f} s"
    )


async def test_a_new_engine_counts_as_ready_only_with_what_is_in_production(
    cluster: Cluster,
) -> None:
    """After the restarts above: the processes are new, and know the base alone when they start."""
    versions = [await _loaded(cluster, pod.ip) for pod in cluster.pods("hone-engine")]
    assert all("policy-0001" in loaded for loaded in versions)


async def test_a_restart_of_redis_loses_nothing_and_stops_no_answer(
    cluster: Cluster, customers: Customers
) -> None:
    async with customers.asking() as tally:
        await asyncio.sleep(2)
        await cluster.rollout_restart("hone-redis", timeout_s=120)
        await asyncio.sleep(3)
    sys.stdout.write(f"hone-redis: {_shown(tally)}\n")
    assert tally.failures == []
    assert tally.judged
    for _ in range(120):  # what went to an outbox comes later
        code, said = await cluster.run("hone-control", ["python", "-c", SEEN])
        assert code == 0, said
        seen = json.loads(said)
        if tally.judged <= set(seen):
            break
        await asyncio.sleep(0.5)
    assert tally.judged - set(seen) == set()
    assert len(seen) == len(set(seen))


async def test_a_gateway_that_cannot_answer_gets_no_requests(
    cluster: Cluster, customers: Customers
) -> None:
    async with customers.asking() as tally:
        wrong = '["http://hone-engine-7.hone-engine:8100"]'
        async with cluster.beside("hone-gateway", HONE_SERVING_ENGINE_URLS=wrong) as pod:
            while "no engine has" not in _last_failure(pod):
                await asyncio.sleep(0.2)
            await asyncio.sleep(2)
            assert not pod.is_ready
    assert tally.failures == []
    assert tally.num_requests > 0


def _last_failure(pod: Pod) -> str:
    return "".join(health.last_failure for health in pod.health.values())


async def test_no_pod_uses_more_memory_than_its_limit(cluster: Cluster) -> None:
    for workload in cluster.workloads.values():
        for pod in [*workload.pods, *workload.gone]:
            for container in pod.spec["containers"]:
                most = pod.most_bytes.get(container["name"], 0)
                limit = _bytes(container["resources"]["limits"]["memory"])
                sys.stdout.write(f"{pod.name}: {most >> 20} of {limit >> 20} MiB\n")
                assert most < limit


def _bytes(text: str) -> int:
    units = {"Ki": 10, "Mi": 20, "Gi": 30}
    return int(text[:-2]) << units[text[-2:]]
