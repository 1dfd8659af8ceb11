"""What holds for every pod of the chart, whatever the values."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helm.chart import Object, Rendered, containers

_ALLOWED_VOLUMES = {"emptyDir", "configMap", "secret", "persistentVolumeClaim", "csi"}
_SECRET = {
    *("HONE_SERVING_ENGINE_TOKEN", "HONE_MODERATION_BACKEND_KEY", "HF_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "REDISCLI_AUTH"),
}
_READS_NO_REDIS = {"engine", "rollout", "model"}


def broken(found: Rendered) -> list[str]:
    """What does not hold."""
    problems = [
        f"{component}: {problem}"
        for component, pod in found.pods()
        for problem in (*_of_pod(pod), *_of_volumes(pod), *_of_secrets(component, pod))
    ]
    return [*problems, *_of_selectors(found)]


def _of_pod(pod: Object) -> Iterator[str]:
    """Kubernetes' Pod Security Standard `restricted`, and some more."""
    context = pod["securityContext"]
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "gets a token"
    if pod.get("enableServiceLinks") is not False:
        yield "gets the variables of services, as VLLM_PORT"
    for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if pod.get(name):
            yield f"has {name}"
    for container in containers(pod):
        yield from _of_container(container)


def _of_container(container: Object) -> Iterator[str]:
    name, context = container["name"], container.get("securityContext", {})
    wanted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if context != wanted:
        yield f"{name}: its bounds are {context}"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield f"{name}: takes a port of its node"


def _of_volumes(pod: Object) -> Iterator[str]:
    there = {volume["name"] for volume in pod.get("volumes", [])} | _CLAIMED
    ours = [*pod.get("initContainers", []), pod["containers"][0]]
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= _ALLOWED_VOLUMES:
            yield f"volume {volume['name']} is {set(volume)}"
    for container in ours:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in there:
                yield f"{container['name']} mounts {mount['name']}, which is not there"
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        if len(paths) != len(set(paths)):
            yield f"{container['name']} mounts two volumes at one path"


_CLAIMED = {"outbox", "cache", "data"}  # may come of a StatefulSet's claim templates


def _of_secrets(component: str, pod: Object) -> Iterator[str]:
    for container in containers(pod):
        names = [e["name"] for e in container.get("env", []) if e["name"].startswith("HONE_")]
        if len(names) != len(set(names)):
            yield f"{container['name']} has a variable twice"
        for entry in container.get("env", []):
            if entry["name"] in _SECRET and "secretKeyRef" not in entry.get("valueFrom", {}):
                yield f"{entry['name']} stands in the pod"
            if component in _READS_NO_REDIS and entry["name"].endswith("_REDIS_URL"):
                yield f"reads {entry['name']}"


def _of_selectors(found: Rendered) -> Iterator[str]:
    for kind in ("Deployment", "StatefulSet"):
        for workload in found.all(kind):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            if not workload["spec"]["selector"]["matchLabels"].items() <= labels.items():
                yield f"{workload['metadata']['name']} does not select its own pods"
