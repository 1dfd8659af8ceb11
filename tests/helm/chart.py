"""The chart as `helm template` renders it, each set of values once, and questions one asks of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "helm"
WAYS = sorted((FOLDER / "ci").glob("*-values.yaml"))
Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WITH_PODS = ("Deployment", "StatefulSet", "Job", "Pod")


class Refused(Exception):
    """Helm did not render; says why."""


class Rendered:
    """The objects that came out."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def all(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """`name` without the release's in front."""
        (found,) = [f for f in self.all(kind) if f["metadata"]["name"] == f"hone-{name}"]
        return found

    def has(self, kind: str, name: str) -> bool:
        return any(found["metadata"]["name"] == f"hone-{name}" for found in self.all(kind))

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Component and spec of every pod, whatever makes it."""
        for found in self.objects:
            if found["kind"] in _WITH_PODS:
                yield found["metadata"]["labels"]["app.kubernetes.io/component"], pod_of(found)

    def pod(self, component: str) -> Object:
        (found,) = [spec for name, spec in self.pods() if name == component]
        return found

    def container(self, component: str) -> Object:
        """Ours, of this component."""
        return dict(self.pod(component)["containers"][0])

    def env(self, component: str) -> dict[str, Any]:
        """Name -> value, or the reference where it comes from elsewhere; config maps are read."""
        container = self.container(component)
        found: dict[str, Any] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                name = source["configMapRef"]["name"].removeprefix("hone-")
                if self.has("ConfigMap", name):  # else the operator's
                    found |= self.one("ConfigMap", name)["data"]
        for entry in container["env"]:
            found[entry["name"]] = entry.get("value", entry.get("valueFrom"))
        return found


class Chart:
    def __init__(self, helm: Path) -> None:
        self.helm = helm
        self._rendered: dict[str, Rendered] = {}
        self._refused: dict[str, str] = {}

    def render(self, values: Mapping[str, Any] | None = None, *, way: str = "cpu") -> Rendered:
        """`way`: one of helm/ci, whose values come first; '' for the chart's own alone."""
        key = json.dumps([way, values], sort_keys=True)
        if key not in self._rendered:
            self._rendered[key] = Rendered(self._objects(values or {}, way))
        return self._rendered[key]

    def refusal(self, values: Mapping[str, Any], way: str) -> str:
        """Why Helm refuses these values, which it has to."""
        key = json.dumps([way, values], sort_keys=True)
        if key not in self._refused:
            try:
                self.text(values, way)
            except Refused as refused:
                self._refused[key] = str(refused)
            else:
                raise AssertionError(f"not refused: {values}")
        return self._refused[key]

    def text(
        self, values: Mapping[str, Any], way: str, *words: str, command: str = "template"
    ) -> str:
        """What Helm writes. Raises Refused."""
        name = ["hone"] if command in ("template", "install") else []
        files = ["-f", str(FOLDER / "ci" / f"{way}-values.yaml")] if way else []
        done = subprocess.run(
            [str(self.helm), command, *name, str(FOLDER), "-n", "ns", *files, "-f", "-", *words],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def _objects(self, values: Mapping[str, Any], way: str) -> list[Object]:
        text = self.text(values, way)
        return [found for found in yaml.load_all(text, Loader=_LOADER) if found]


def pod_of(found: Object) -> Object:
    """The spec of its pod."""
    spec: Object = found["spec"]
    return spec if found["kind"] == "Pod" else dict(spec["template"]["spec"])


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]
