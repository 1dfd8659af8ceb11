"""A pod's life: volumes, init containers, containers that are started again, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helm.kubelet import images, probes
from tests.helm.kubelet.containers import Container, Mount, Sandbox
from tests.helm.kubelet.manifests import Manifests, Object
from tests.helm.kubelet.network import Endpoint

# Until every node has learnt that a pod goes, connections still come to it.
PROPAGATION_S = 1.0
_BACKOFF_S, _LONGEST_BACKOFF_S = 10.0, 300.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where pods are made. One for the cluster."""

    folder: Path
    etc: Path
    names: Path
    claims: Path  # a folder a PersistentVolumeClaim
    memory: Path  # on a tmpfs: volumes with `medium: Memory`


@dataclass(kw_only=True)
class Pod:
    """Written by its own tasks."""

    name: str
    uid: str  # another one for each pod of a name
    manifest: Object  # a Pod, or a pod template
    manifests: Manifests
    site: Site
    connect: Callable[[int], str]  # gives a network namespace its address
    on_change: Callable[[], Awaitable[None]]
    is_ordinal: bool = False  # of a StatefulSet: it has a name of its own
    ip: str = ""
    started_at: float = 0.0  # time.monotonic
    ready_s: float | None = None  # from its start until it was ready for the first time
    drain_s: float | None = None  # from the wish that it goes until it was gone
    was_killed: bool = False  # its grace period ran out
    is_terminating: bool = False
    is_hidden: bool = False  # everybody has learnt that it goes
    num_restarts: int = 0
    restart_reasons: list[str] = field(default_factory=list)
    most_bytes: dict[str, int] = field(default_factory=dict)  # by container
    exit_codes: dict[str, int] = field(default_factory=dict)  # of containers that are not run again
    containers: dict[str, Container] = field(default_factory=dict)
    health: dict[str, probes.Health] = field(default_factory=dict)
    _holder: asyncio.subprocess.Process | None = None
    _life: asyncio.Task[None] | None = None

    @property
    def spec(self) -> Object:
        return dict(self.manifest["spec"])

    @property
    def folder(self) -> Path:
        return self.site.folder / self.uid

    @property
    def is_ready(self) -> bool:
        wanted = [each["name"] for each in self.spec["containers"]]
        return all(name in self.health and self.health[name].is_ready for name in wanted)

    @property
    def has_ended(self) -> bool:
        return self._life is not None and self._life.done()

    def endpoint(self) -> Endpoint | None:
        """None while it has no address."""
        if not self.ip or self._holder is None:
            return None
        return Endpoint(
            name=self.name,
            ip=self.ip,
            labels=self.manifest["metadata"]["labels"],
            containers=self.spec["containers"],
            is_ready=self.is_ready,
            is_terminating=self.is_hidden,
            hostname=self.name if self.is_ordinal else None,
        )

    async def start(self) -> None:
        self.started_at = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._holder = await asyncio.create_subprocess_exec(
            *"setpriv --pdeathsig KILL unshare --net --ipc sleep infinity".split(),
            start_new_session=True,
        )
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == here:
            await asyncio.sleep(0.01)
        self.ip = self.connect(self._holder.pid)
        await self.on_change()
        self._life = asyncio.create_task(self._live())

    async def ended(self) -> None:
        """Until it ends by itself: a Job's, or a test's. Raises what went wrong in here."""
        assert self._life is not None
        await asyncio.shield(self._life)

    async def terminate(self) -> None:
        """As a deletion: out of the services and preStop at the same time, SIGTERM, SIGKILL after the grace."""
        began, grace_s = time.monotonic(), self.spec.get("terminationGracePeriodSeconds", 30)
        self.is_terminating = True
        hiding = asyncio.create_task(self._hide())
        running = [each for each in self.containers.values() if each.is_running]
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(_stop(each) for each in running))
        except TimeoutError:
            self.was_killed = True
        await self.kill()
        await hiding
        self.drain_s = time.monotonic() - began

    async def kill(self) -> None:
        """At once, with all that is in it."""
        self.is_terminating = True
        if self._life is not None:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        for container in self.containers.values():
            if container.is_running:
                container.kill()
                await container.wait()
        if self._holder is not None and self._holder.returncode is None:
            self._holder.kill()
            await self._holder.wait()
        self._holder = None
        shutil.rmtree(self.site.memory / self.uid, ignore_errors=True)

    async def _hide(self) -> None:
        await asyncio.sleep(PROPAGATION_S)
        self.is_hidden = True
        await self.on_change()

    async def _live(self) -> None:
        for manifest in self.spec.get("initContainers", ()):
            await self._run_one(manifest, "OnFailure")
        policy = self.spec.get("restartPolicy", "Always")
        async with asyncio.TaskGroup() as group:
            for manifest in self.spec["containers"]:
                group.create_task(self._run_one(manifest, policy))

    async def _run_one(self, manifest: Object, policy: str) -> None:
        """A container, again and again as the policy says; later each time."""
        name, pause_s = manifest["name"], 0.0
        while True:
            container, health = self._make(manifest), probes.Health()
            self.containers[name], self.health[name] = container, health
            await container.start()
            code = await self._attend(container, health)
            health.is_ready = False
            await self.on_change()
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                self.exit_codes[name] = code
                return
            self.num_restarts += 1
            await asyncio.sleep(pause_s)
            pause_s = min(max(_BACKOFF_S, 2 * pause_s), _LONGEST_BACKOFF_S)

    async def _attend(self, container: Container, health: probes.Health) -> int:
        """Until it has ended, by itself or because a probe says that it must. Returns its exit code."""
        watching = asyncio.create_task(
            probes.watch(container, self.ip, health, on_ready=self._on_ready)
        )
        ending = asyncio.create_task(container.wait())
        measuring = asyncio.create_task(self._measure(container))
        try:
            await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                self.restart_reasons.append(f"{container.name}: {watching.result()}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.spec.get("terminationGracePeriodSeconds", 30)):
                        await _stop(container)
                container.kill()
            else:
                self.restart_reasons.append(f"{container.name}: ended with {ending.result()}")
            return await ending
        finally:
            watching.cancel()
            measuring.cancel()

    async def _on_ready(self) -> None:
        if self.is_ready and self.ready_s is None:
            self.ready_s = time.monotonic() - self.started_at
        await self.on_change()

    async def _measure(self, container: Container) -> None:
        while True:
            most = max(self.most_bytes.get(container.name, 0), container.own_bytes())
            self.most_bytes[container.name] = most
            await asyncio.sleep(2.0)

    def _make(self, manifest: Object) -> Container:
        """What has an address and volumes by now."""
        assert self._holder is not None
        known = {
            "metadata": {"name": self.name, "namespace": "default", **self.manifest["metadata"]},
            "spec": {"nodeName": "here", **self.spec},
            "status": {"podIP": self.ip, "hostIP": self.ip},
        }
        known["metadata"]["name"] = self.name
        own = self.manifests.environment(manifest, known)
        volumes = {each["name"]: each for each in self.spec.get("volumes", ())}
        return Container(
            manifest=manifest,
            pod_security=self.spec.get("securityContext", {}),
            sandbox=Sandbox(
                hostname=self.name,
                holder=self._holder.pid,
                etc=self.site.etc,
                names=self.site.names,
            ),
            mounts=[self._mount(each, volumes) for each in manifest.get("volumeMounts", ())],
            environment=images.environment(manifest["image"]) | {"HOSTNAME": self.name} | own,
            folder=self.folder,
        )

    def _mount(self, mount: Object, volumes: dict[str, Object]) -> Mount:
        volume = volumes.get(mount["name"], {"name": mount["name"], "claimTemplate": {}})
        source = self._volume(volume)
        claim = volume.get("persistentVolumeClaim", {})
        written = {"configMap", "secret", "projected"} & volume.keys()
        return Mount(
            source=source / mount["subPath"] if "subPath" in mount else source,
            target=mount["mountPath"],
            is_read_only=bool(mount.get("readOnly") or claim.get("readOnly") or written),
        )

    def _volume(self, volume: Object) -> Path:
        """Its folder, made if it is not there."""
        group = self.spec.get("securityContext", {}).get("fsGroup", -1)
        if "persistentVolumeClaim" in volume:
            return _writable(self.site.claims / volume["persistentVolumeClaim"]["claimName"], group)
        if "claimTemplate" in volume:
            return _writable(self.site.claims / f"{volume['name']}-{self.name}", group)
        if "emptyDir" in volume:
            in_memory = (volume["emptyDir"] or {}).get("medium") == "Memory"
            parent = self.site.memory / self.uid if in_memory else self.folder / "volumes"
            return _writable(parent / volume["name"], group)
        folder = self.folder / "volumes" / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        for kind, key, name in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
        ):
            if key in volume:
                data = self.manifests.data(kind, volume[key][name])
                items = volume[key].get("items") or [{"key": k, "path": k} for k in data]
                for item in items:
                    file = folder / item["path"]
                    file.write_text(data[item["key"]])
                    os.chown(file, 0, group)
                    file.chmod(item.get("mode") or volume[key].get("defaultMode", 0o644))
                return folder
        raise ValueError(f"this kubelet mounts no volume like: {volume}")


def _writable(folder: Path, group: int) -> Path:
    """Owned by root, written by the pod's group, as fsGroup has it."""
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, 0, group)
        folder.chmod(0o2775 if group != -1 else 0o777)
    return folder


async def _stop(container: Container) -> None:
    """preStop, then SIGTERM, until it has ended."""
    command = container.manifest.get("lifecycle", {}).get("preStop", {})
    if "exec" in command:
        await container.run(command["exec"]["command"], timeout_s=3600)
    elif "sleep" in command:
        await asyncio.sleep(command["sleep"]["seconds"])
    elif command:
        raise ValueError(f"this kubelet runs no preStop like: {command}")
    container.signal(signal.SIGTERM)
    await container.wait()
