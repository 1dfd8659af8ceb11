"""A cluster of one node: what `kubectl apply`, `rollout restart`, `exec` and `helm test` do with manifests."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import math
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.helm.kubelet import images
from tests.helm.kubelet.manifests import Manifests, Object
from tests.helm.kubelet.network import Network
from tests.helm.kubelet.pods import Pod, Site

_LOOK_S = 0.1


@dataclass(kw_only=True)
class Workload:
    """A Deployment, StatefulSet or Job, and its pods."""

    manifest: Object
    pods: list[Pod] = field(default_factory=list)
    gone: list[Pod] = field(default_factory=list)  # for their figures

    @property
    def spec(self) -> Object:
        return dict(self.manifest["spec"])

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def replicas(self) -> int:
        return int(self.spec.get("replicas", 1))

    @property
    def is_ready(self) -> bool:
        here = [pod for pod in self.pods if not pod.is_terminating]
        return len(here) == self.replicas and all(pod.is_ready for pod in here)


class Cluster:
    """Everything of one release."""

    def __init__(self, manifests: Manifests, folder: Path) -> None:
        self.manifests = manifests
        self.site = Site(
            folder=folder / "pods",
            etc=folder / "etc",
            names=folder / "names",
            claims=folder / "claims",
            memory=Path(tempfile.mkdtemp(prefix="hone-", dir="/dev/shm")),
        )
        self.site.memory.chmod(0o755)
        images.write_etc(self.site.etc)
        self.site.names.mkdir()
        self.workloads: dict[str, Workload] = {}
        self._others: list[Pod] = []  # of no workload: `helm test`
        self._network = Network(
            self.site.names / "hosts", manifests.of("Service"), manifests.of("NetworkPolicy")
        )
        self._names, self._uids = itertools.count(), itertools.count()

    def address(self, service: str) -> str:
        return self._network.cluster_ips[service]

    def pods(self, workload: str) -> list[Pod]:
        return self.workloads[workload].pods

    async def apply(self) -> None:
        """Start all workloads at once, as an installation does."""
        starting = []
        for kind, create in (("Deployment", self._deploy), ("StatefulSet", self._deploy_in_order)):
            for manifest in self.manifests.of(kind):
                workload = Workload(manifest=manifest)
                self.workloads[manifest["metadata"]["name"]] = workload
                starting.append(create(workload))
        await asyncio.gather(*starting)

    async def run_job(self, name: str, *, timeout_s: float) -> Pod:
        """A Job's pod to its end."""
        template = self.manifests.get("Job", name)["spec"]["template"]
        return await self._to_its_end(template, f"{name}-0", timeout_s)

    async def helm_test(self, name: str, *, timeout_s: float) -> Pod:
        """The pod of a hook, as `helm test` runs it."""
        return await self._to_its_end(self.manifests.get("Pod", name), name, timeout_s)

    @contextlib.asynccontextmanager
    async def beside(self, workload: str, **environment: str) -> AsyncIterator[Pod]:
        """One pod more of a workload, with settings of its own: a roll-out that goes wrong."""
        template = copy.deepcopy(self.workloads[workload].spec["template"])
        variables = [{"name": name, "value": value} for name, value in environment.items()]
        template["spec"]["containers"][0]["env"] += variables
        pod = self._pod(f"{workload}-beside", template)
        self._others.append(pod)
        await pod.start()
        try:
            yield pod
        finally:
            await pod.kill()
            self._others.remove(pod)

    async def run(
        self, workload: str, command: list[str], *, timeout_s: float = 60.0
    ) -> tuple[int, str]:
        """`kubectl exec` in the first container of a ready pod."""
        pod = next(pod for pod in self.pods(workload) if pod.is_ready and not pod.is_terminating)
        container = pod.containers[pod.spec["containers"][0]["name"]]
        return await container.run(command, timeout_s=timeout_s)

    async def until_ready(self, *names: str, timeout_s: float) -> None:
        """All, or those named. Raises TimeoutError with what is not and why."""
        deadline = time.monotonic() + timeout_s
        wanted = [self.workloads[name] for name in names] or list(self.workloads.values())
        while not all(workload.is_ready for workload in wanted):
            if time.monotonic() > deadline:
                raise TimeoutError(self.report())
            await asyncio.sleep(_LOOK_S)

    async def rollout_restart(self, name: str, *, timeout_s: float) -> Workload:
        """Every pod is replaced by a new one, as its strategy says."""
        workload = self.workloads[name]
        restart = self._replace_in_order if workload.kind == "StatefulSet" else self._replace
        async with asyncio.timeout(timeout_s):
            await restart(workload)
        return workload

    def report(self) -> str:
        """One line a pod, and the end of the logs of those that are not ready."""
        lines = []
        for pod in self._all():
            state = f"ready after {pod.ready_s:.1f} s" if pod.ready_s else "not ready"
            failures = {name: h.last_failure for name, h in pod.health.items() if h.last_failure}
            lines.append(f"{pod.name}: {state}, {pod.restart_reasons} {failures}")
            if not pod.is_ready:
                lines += [self.log(pod)[-3000:]]
        return "\n".join(lines)

    def log(self, pod: Pod) -> str:
        return "\n".join(
            container.log.read_text(errors="replace")
            for container in pod.containers.values()
            if container.log.exists()
        )

    async def close(self) -> None:
        await asyncio.gather(*(pod.kill() for pod in self._all()))
        shutil.rmtree(self.site.memory, ignore_errors=True)

    async def _deploy(self, workload: Workload) -> None:
        await asyncio.gather(*(self._add(workload) for _ in range(workload.replicas)))

    async def _deploy_in_order(self, workload: Workload) -> None:
        is_parallel = workload.spec.get("podManagementPolicy") == "Parallel"
        for number in range(workload.replicas):
            pod = await self._add(workload, number)
            while not (is_parallel or pod.is_ready):
                await asyncio.sleep(_LOOK_S)

    async def _replace(self, workload: Workload) -> None:
        """A Deployment: more of the new, fewer of the old, within maxSurge and maxUnavailable."""
        strategy = workload.spec.get("strategy", {})
        old, wanted = list(workload.pods), workload.replicas
        if strategy.get("type") == "Recreate":
            await asyncio.gather(*(self._remove(workload, pod) for pod in old))
            await self._deploy(workload)
            await self._until_all_ready(workload)
            return
        bounds = strategy.get("rollingUpdate") or {}
        surge = math.ceil(_bound(bounds.get("maxSurge", "25%"), wanted))
        unavailable = math.floor(_bound(bounds.get("maxUnavailable", "25%"), wanted))
        leaving: list[asyncio.Task[None]] = []
        num_new = 0
        while old or num_new < wanted:
            here = [pod for pod in workload.pods if not pod.is_terminating]
            if num_new < wanted and len(here) < wanted + surge:
                await self._add(workload)
                num_new += 1
                continue
            num_ready = sum(pod.is_ready for pod in here)
            goes = next((pod for pod in old if not pod.is_ready), old[0] if old else None)
            if goes and num_ready - goes.is_ready >= wanted - unavailable:
                old.remove(goes)
                leaving.append(asyncio.create_task(self._remove(workload, goes)))
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(_LOOK_S)
        await self._until_all_ready(workload)
        await asyncio.gather(*leaving)

    async def _replace_in_order(self, workload: Workload) -> None:
        """A StatefulSet: from the last to the first, each gone before its successor comes."""
        for number in reversed(range(workload.replicas)):
            name = f"{workload.manifest['metadata']['name']}-{number}"
            await self._remove(workload, next(p for p in workload.pods if p.name == name))
            await self._add(workload, number)
            await self._until_all_ready(workload)

    async def _until_all_ready(self, workload: Workload) -> None:
        while not workload.is_ready:
            await asyncio.sleep(_LOOK_S)

    async def _add(self, workload: Workload, number: int | None = None) -> Pod:
        name = workload.manifest["metadata"]["name"]
        suffix = f"{next(self._names):05d}" if number is None else str(number)
        pod = self._pod(f"{name}-{suffix}", workload.spec["template"])
        pod.is_ordinal = number is not None
        workload.pods.append(pod)
        await pod.start()
        return pod

    async def _remove(self, workload: Workload, pod: Pod) -> None:
        await pod.terminate()
        workload.pods.remove(pod)
        workload.gone.append(pod)
        await self._changed()

    async def _to_its_end(self, manifest: Object, name: str, timeout_s: float) -> Pod:
        pod = self._pod(name, copy.deepcopy(manifest))
        self._others.append(pod)
        await pod.start()
        try:
            async with asyncio.timeout(timeout_s):
                await pod.ended()
        finally:
            await pod.kill()
            self._others.remove(pod)
        return pod

    def _pod(self, name: str, manifest: Object) -> Pod:
        return Pod(
            name=name,
            uid=f"{name}.{next(self._uids)}",
            manifest=manifest,
            manifests=self.manifests,
            site=self.site,
            connect=self._network.connect,
            on_change=self._changed,
        )

    def _all(self) -> list[Pod]:
        own = [pod for workload in self.workloads.values() for pod in workload.pods]
        return [*own, *self._others]

    async def _changed(self) -> None:
        await self._network.update(
            [endpoint for pod in self._all() if (endpoint := pod.endpoint()) is not None]
        )


@contextlib.asynccontextmanager
async def running(manifests: Manifests, folder: Path) -> AsyncIterator[Cluster]:
    """With everything ended afterwards."""
    cluster = Cluster(manifests, folder)
    try:
        yield cluster
    finally:
        await cluster.close()


def _bound(bound: int | str, replicas: int) -> float:
    if isinstance(bound, int):
        return bound
    return replicas * int(bound.removesuffix("%")) / 100
