"""Images built by buildah on a Debian that debootstrap makes, and run by runc as a cluster would run them: no
capability, a root file system that cannot be written, user 10001. Needs root; no Docker, and no registry but
the ones that pip and apt of this machine are set to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.images.dockerfile import ROOT

BASE = "localhost/hone-base:bookworm"
NEEDED = ("buildah", "debootstrap", "runc")
USER = 10001


class Images:
    """Under one folder, which keeps layers for the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._buildah = (
            *("buildah", "--root", f"{folder}/storage", "--runroot", f"{folder}/runroot"),
            *("--storage-driver", "overlay"),
        )

    def build(self, target: str) -> str:
        """The image's name. What pip reads on this machine is mounted while it is built."""
        self._have_base()
        settings, mounts = pip_settings()
        secret = self.folder / "pip.conf"
        secret.write_text(settings)
        image = f"localhost/hone-{target}"
        self._run(
            *(
                "build",
                "--format",
                "docker",
                "--layers",
                "--network",
                "host",
                "--isolation",
                "chroot",
            ),
            *("--secret", f"id=pip_conf,src={secret}"),
            *(word for path in mounts for word in ("--volume", f"{path}:{path}:ro")),
            *("--build-arg", f"BASE={BASE}", "--target", target, "--tag", image, str(ROOT)),
        )
        return image

    def size(self, image: str) -> int:
        """Bytes of all its layers, uncompressed, the base's too."""
        manifest = json.loads(self._inspected(image)["Manifest"])
        return sum(int(layer["size"]) for layer in manifest["layers"])

    def config(self, image: str) -> dict[str, Any]:
        """As Docker knows it: Env, Cmd, Entrypoint, User, Healthcheck, Labels."""
        config: dict[str, Any] = self._inspected(image)["Docker"]["config"]
        return config

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Its files."""
        container = self._run("from", image).strip()
        try:
            yield Path(self._run("mount", container).strip())
        finally:
            self._run("umount", container)
            self._run("rm", container)

    def _inspected(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", image))
        return found

    def _have_base(self) -> None:
        """Debian's smallest, with Python, without what only people read. Once."""
        if BASE in self._run("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        root = self.folder / "debian"
        shutil.rmtree(root, ignore_errors=True)
        wanted = "--include=python3-venv,ca-certificates"
        _run("debootstrap", "--variant=minbase", wanted, "bookworm", str(root))
        for left_over in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / left_over)
            (root / left_over).mkdir()
        for unread in ("doc", "man", "info", "locale"):
            shutil.rmtree(root / "usr/share" / unread)
        container = self._run("from", "scratch").strip()
        self._run("add", "-q", container, str(root), "/")
        self._run("commit", "-q", "--rm", container, BASE)
        shutil.rmtree(root)

    def _run(self, *words: str) -> str:
        return _run(*self._buildah, *words)


@dataclass(kw_only=True)
class Container:
    """One that `command` starts in the foreground: it ends with that process, and by the same signals."""

    name: str
    command: tuple[str, ...]
    state: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A further process in it: what `docker exec` does."""
        return subprocess.run(
            ["runc", "--root", str(self.state), "exec", self.name, *words],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def remove(self) -> None:
        """Also one that was killed in the middle."""
        words = ("runc", "--root", str(self.state), "delete", "--force", self.name)
        subprocess.run(words, capture_output=True, timeout=400, check=False)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a container is to be run."""

    name: str
    arguments: Sequence[str] = ()  # after the entry point; none: the image's own
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Path] = field(
        default_factory=dict
    )  # where in the container -> folder here


def container(wish: Wish, *, config: Mapping[str, Any], root: Path, folder: Path) -> Container:
    """Not started yet. `root`: the image's files; `folder`: for its bundle."""
    bundle, state = folder / wish.name, folder / "state"
    bundle.mkdir(parents=True)
    for path in wish.volumes.values():
        os.chown(path, USER, USER)
    _run("runc", "spec", "--bundle", str(bundle))
    spec = json.loads((bundle / "config.json").read_text())
    environment = dict(word.split("=", 1) for word in config["Env"]) | wish.environment
    nothing: list[str] = []
    spec["root"] = {"path": str(root), "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": USER, "gid": USER},
        "args": [*config["Entrypoint"], *(wish.arguments or config["Cmd"])],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": config["WorkingDir"],
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(spec["process"]["capabilities"], nothing),
    }
    spec["process"].pop("rlimits", None)  # 1,024 open files are runc's idea, not a cluster's
    for mount in spec["mounts"]:
        if mount["destination"] == "/dev/shm":  # as chart and compose give engines; runc's is 64 MB
            mount["options"] = [*mount["options"][:-1], "size=2g"]
    spec["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        *(
            {"destination": inside, "type": "bind", "source": str(path), "options": ["rbind", "rw"]}
            for inside, path in wish.volumes.items()
        ),
    ]
    # The network of this machine: the engine and Redis are outside.
    spec["linux"]["namespaces"] = [
        one for one in spec["linux"]["namespaces"] if one["type"] != "network"
    ]
    (bundle / "config.json").write_text(json.dumps(spec))
    command = ("runc", "--root", str(state), "run", "--bundle", str(bundle), wish.name)
    return Container(name=wish.name, command=command, state=state)


def pip_settings() -> tuple[str, list[str]]:
    """pip's configuration on this machine as one file, and the local paths that it names."""
    said = _run(sys.executable, "-m", "pip", "config", "list")
    found = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", said, re.MULTILINE))
    lines = ["[global]", *(f"{name} = {value}" for name, value in found.items())]
    paths = re.findall(r"(?:file://|(?<=[ =]))(/[^\s']*)", "\n".join(lines))
    # An index that is a folder points at files beside it.
    folders = {re.sub("/simple/?$", "", path) for path in paths}
    return "\n".join(lines) + "\n", sorted(path for path in folders if Path(path).exists())


def _run(*words: str) -> str:
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:8])} …: {(run.stdout + run.stderr)[-3000:]}")
    return run.stdout
