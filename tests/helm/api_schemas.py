"""Is an object what Kubernetes takes? By kubernetes-validate's strict schemas, and ours for what is not of
Kubernetes itself. They are compiled once: kubernetes-validate reads megabytes anew for each object."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
_OURS = Path(__file__).with_name("schemas")


def problems(found: dict[str, Any], version: str) -> list[str]:
    """Why Kubernetes of this version would refuse it; an unknown kind is a problem too."""
    group, _, api_version = found["apiVersion"].rpartition("/")
    try:
        validator = _validator(found["kind"].lower(), group, api_version, version)
    except FileNotFoundError:
        return [f"there is no schema of {found['apiVersion']} {found['kind']}"]
    name = f"{found['kind']} {found['metadata']['name']}"
    return [
        f"{name}: {'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in validator.iter_errors(found)
    ]


@cache
def _validator(kind: str, group: str, api_version: str, version: str) -> Any:
    ours = _OURS / f"{kind}-{group}-{api_version}.json"
    if ours.exists():
        return jsonschema_rs.validator_for(json.loads(ours.read_text()))
    folder = files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    name = f"{kind}-{group.split('.')[0]}-{api_version}" if group else f"{kind}-{api_version}"
    schema = json.loads((folder / f"{name}.json").read_text())

    def definitions(_uri: str) -> Any:
        return _definitions(version)

    return jsonschema_rs.validator_for(schema, base_uri="file:///", retriever=definitions)


@cache
def _definitions(version: str) -> Any:
    folder = files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / "_definitions.json").read_text())
