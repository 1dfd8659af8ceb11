"""One container: a process with a root, a process tree and rights of its own, as its manifest says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.helm.kubelet import images
from tests.helm.kubelet.manifests import Object

_DEVICES = ("null", "zero", "full", "random", "urandom")
_ENDED = (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, kw_only=True)
class Mount:
    source: Path
    target: str
    is_read_only: bool


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What the containers of a pod share."""

    hostname: str
    holder: int  # process whose network and IPC namespaces are the pod's
    etc: Path
    names: Path  # folder with the cluster's `hosts`


@dataclass(kw_only=True)
class Container:
    """One run of it; a restart is another one."""

    manifest: Object
    pod_security: Object
    sandbox: Sandbox
    mounts: list[Mount]
    environment: Mapping[str, str]
    folder: Path  # its root is mounted here; its log is beside it
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Until its first process is there; what that does is another matter."""
        root = self.folder / self.name
        root.mkdir(parents=True, exist_ok=True)
        words = [*self.manifest["command"], *map(str, self.manifest.get("args", ()))]
        script = "\n".join([*_rootfs(self, root), f"exec {self._inside(root, words)}"])
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *f"setpriv --pdeathsig KILL nsenter -t {self.sandbox.holder} -n -i --".split(),
                *"unshare --mount --uts --pid --fork --propagation private".split(),
                *("sh", "-ec"),
                script,
                env=dict(self.environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _inside(self, root: Path, words: list[str]) -> str:
        cwd = self.manifest.get("workingDir", "/")
        entry = ["/bin/sh", "-c", f'cd {shlex.quote(cwd)} && exec "$0" "$@"', *words]
        return shlex.join(["chroot", str(root), *self._rights(), *entry])

    def _rights(self) -> list[str]:
        """Its user, and nothing that root could do."""
        security = self.pod_security | self.manifest.get("securityContext", {})
        user = security.get("runAsUser")
        if security.get("runAsNonRoot") and not user:
            raise ValueError(f"{self.name}: runAsNonRoot, and no user other than root")
        group = security.get("fsGroup") or security["runAsGroup"]
        words = f"setpriv --reuid {user} --regid {security['runAsGroup']} --groups {group}".split()
        if security.get("capabilities", {}).get("drop") == ["ALL"]:
            words += ["--bounding-set=-all", "--inh-caps=-all"]
        if not security.get("allowPrivilegeEscalation", True):
            words.append("--no-new-privs")
        return [*words, "--pdeathsig", "KILL"]  # after its user: a change of user would undo it

    async def run(self, command: list[str], *, timeout_s: float) -> tuple[int, str]:
        """Another process in it, as `kubectl exec` would: exit code and output. Raises TimeoutError."""
        first = self.first_process()
        if first is None:
            return 137, "the container has ended"
        enter = f"nsenter -t {first.pid} -m -u -p -n -i -r -w --".split()
        process = await asyncio.create_subprocess_exec(
            *enter,
            *self._rights(),
            *command,
            env=dict(self.environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError:
            _kill_family(process.pid)
            await process.wait()
            raise
        return process.returncode or 0, output.decode()

    def first_process(self) -> psutil.Process | None:
        """Number 1 in the container. `unshare` starts it and waits for it."""
        if not self.is_running or self.process is None:
            return None
        with contextlib.suppress(*_ENDED):
            return next(iter(psutil.Process(self.process.pid).children()), None)
        return None

    def signal(self, number: signal.Signals) -> None:
        """To its first process. If that has no handler for SIGTERM yet, nothing happens: it is number 1."""
        if first := self.first_process():
            with contextlib.suppress(*_ENDED):
                os.kill(first.pid, number)

    def kill(self) -> None:
        """Its first process, and so all of them."""
        if self.first_process() is not None:
            self.signal(signal.SIGKILL)
        elif self.is_running and self.process is not None:
            self.process.kill()

    async def wait(self) -> int:
        assert self.process is not None
        return await self.process.wait()

    def own_bytes(self) -> int:
        """Memory that its processes have for themselves: what its limit counts, less files it has read."""
        if self.process is None:
            return 0
        with contextlib.suppress(*_ENDED):
            family = psutil.Process(self.process.pid).children(recursive=True)
            return sum(_own_bytes(each.pid) for each in family)
        return 0


def _rootfs(container: Container, root: Path) -> list[str]:
    """Shell lines that make its root: the image read-only, volumes, /proc, /dev, names."""
    at, security = shlex.quote(str(root)), container.manifest.get("securityContext", {})
    lines = [
        f"hostname {container.sandbox.hostname}",
        f"mount -t tmpfs -o mode=0755 tmpfs {at}",
        f"cd {at}",
        "mkdir -p proc sys dev run/names etc tmp -m 0755",
    ]
    for folder in images.system():
        if folder.is_symlink():
            lines.append(f"ln -s {os.readlink(folder)} .{folder}")
        else:
            lines += _bind(folder, str(folder), is_read_only=True)
    lines.append(f"cp -a {shlex.quote(str(container.sandbox.etc))}/. etc")
    lines += _bind(container.sandbox.names, "/run/names", is_read_only=True)
    lines += _bind(Path("/sys"), "/sys", is_read_only=True)
    lines += ["mount -t proc proc proc", "mount -t tmpfs -o mode=0755 tmpfs dev"]
    for device in _DEVICES:
        lines += [f"touch dev/{device}", f"mount --bind /dev/{device} dev/{device}"]
    lines += ["ln -s /proc/self/fd dev/fd", "mkdir -m 1777 dev/shm"]
    for mount in sorted(container.mounts, key=lambda each: each.target.count("/")):
        lines += _bind(mount.source, mount.target, is_read_only=mount.is_read_only)
    for folder in images.python():
        lines += _bind(folder, str(folder), is_read_only=True)
    if security.get("readOnlyRootFilesystem"):
        lines.append(f"mount -o remount,ro {at}")
    return lines


def _bind(source: Path, target: str, *, is_read_only: bool) -> list[str]:
    at, origin = shlex.quote(f".{target}"), shlex.quote(str(source))
    make = f"mkdir -p {at}" if source.is_dir() else f"mkdir -p $(dirname {at}); touch {at}"
    lines = [make, f"mount --bind {origin} {at}"]
    return [*lines, f"mount -o remount,bind,ro {at}"] if is_read_only else lines


def _kill_family(pid: int) -> None:
    with contextlib.suppress(*_ENDED):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(*_ENDED):
                each.kill()


def _own_bytes(pid: int) -> int:
    with contextlib.suppress(*_ENDED):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = dict(line.split(":", 1) for line in lines)
        return sum(
            int(sizes.get(name, "0 kB").split()[0]) << 10 for name in ("RssAnon", "RssShmem")
        )
    return 0
