"""What `helm template` rendered, read as a cluster would read it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Object = dict[str, Any]


@dataclass
class Manifests:
    """Objects by kind and name."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Manifests:
        read = cls()
        for each in yaml.load_all(text, Loader=yaml.CSafeLoader):
            if each is not None:
                read.objects[each["kind"], each["metadata"]["name"]] = each
        return read

    def get(self, kind: str, name: str) -> Object:
        return self.objects[kind, name]

    def of(self, kind: str) -> Iterator[Object]:
        return (each for (found, _), each in self.objects.items() if found == kind)

    def data(self, kind: str, name: str) -> dict[str, str]:
        """Of a ConfigMap, or of a Secret in clear."""
        found = self.get(kind, name)
        plain = {key: str(value) for key, value in (found.get("stringData") or {}).items()}
        if kind != "Secret":
            return dict(found.get("data") or {})
        coded = found.get("data") or {}
        return plain | {key: base64.b64decode(text).decode() for key, text in coded.items()}

    def environment(self, container: Object, pod: Object) -> dict[str, str]:
        """`envFrom`, then `env`, whose later names win; `$(NAME)` of earlier ones is filled in.

        `pod`: metadata, spec and status, for fieldRef. Raises KeyError for what is missing and not optional.
        """
        result: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if reference in source:
                    prefix = source.get("prefix", "")
                    found = self._data_if(kind, source[reference])
                    result |= {prefix + key: value for key, value in found.items()}
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                value = self._value_from(variable["valueFrom"], pod)
            else:
                value = _filled_in(variable.get("value", ""), result)
            if value is not None:
                result[variable["name"]] = value
        return result

    def _value_from(self, source: Object, pod: Object) -> str | None:
        if "fieldRef" in source:
            return _field(pod, source["fieldRef"]["fieldPath"])
        for kind, reference in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            if reference in source:
                wanted = source[reference]
                found = self._data_if(kind, wanted)
                return found.get(wanted["key"]) if wanted.get("optional") else found[wanted["key"]]
        raise ValueError(f"this kubelet does not know where this value is from: {source}")

    def _data_if(self, kind: str, reference: Object) -> dict[str, str]:
        if reference.get("optional") and (kind, reference["name"]) not in self.objects:
            return {}
        return self.data(kind, reference["name"])


def matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """An empty selector matches everything; of a Service or of `matchLabels`/`matchExpressions`."""
    selector = selector or {}
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return all(labels.get(key) == value for key, value in selector.items())
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    operators = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, values: key in labels,
        "DoesNotExist": lambda key, values: key not in labels,
    }
    expressions = selector.get("matchExpressions", ())
    return all(operators[e["operator"]](e["key"], e.get("values")) for e in expressions)


def port_number(port: int | str, containers: list[Object]) -> int:
    """Of a container's port that may be given by its name."""
    if isinstance(port, int):
        return port
    for container in containers:
        for each in container.get("ports", ()):
            if each.get("name") == port:
                return int(each["containerPort"])
    raise KeyError(f"no container has a port {port!r}")


def _filled_in(value: str, known: Mapping[str, str]) -> str:
    def put(match: re.Match[str]) -> str:
        return known.get(match[1], match[0])

    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", put, value)


def _field(pod: Object, path: str) -> str:
    labelled = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if labelled:
        return str(pod["metadata"].get(labelled[1], {}).get(labelled[2], ""))
    found: Any = pod
    for name in path.split("."):
        found = found[name]
    return str(found)
