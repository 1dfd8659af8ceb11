"""The cluster's network: a namespace a pod, services as kube-proxy makes them, network policies.

All of it is in a network namespace of the test's own, the node, so that it is gone with the test. Whatever a
pod sends goes through the node, which rewrites and filters it; clients of the test speak from the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.helm.kubelet.manifests import Object, matches, port_number

NODE = "10.244.0.1"
_PODS, _SERVICES = "10.244.{}.{}", "10.96.{}.{}"
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, is in a new network namespace: the node. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        try:
            _run("ip link set lo up")
            _run("ip link add node type bridge")
            _run(f"ip addr add {NODE}/32 dev node")
            _run("ip link set node up")
            _run("ip route add 10.96.0.0/16 dev node")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            yield
        finally:
            libc.setns(before, _CLONE_NEWNET)
    finally:
        os.close(before)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A pod, as services and policies see it."""

    name: str
    ip: str
    labels: Mapping[str, str]
    containers: list[Object]
    is_ready: bool
    is_terminating: bool
    hostname: str | None  # of a StatefulSet's pod: a name of its own under its service


class Network:
    """Addresses, and the rules in every namespace. One writer: the cluster."""

    def __init__(self, hosts: Path, services: Iterable[Object], policies: Iterable[Object]) -> None:
        self._hosts = hosts
        self._services = list(services)
        self._policies = list(policies)
        self._numbers = itertools.count(2)
        self._turn = asyncio.Lock()
        self.cluster_ips = {
            service["metadata"]["name"]: _SERVICES.format(0, number)
            for number, service in enumerate(self._services, start=1)
            if service["spec"].get("clusterIP") != "None"
        }

    def connect(self, sandbox: int) -> str:
        """Give the pod's namespace an address on the bridge, and return it."""
        number = next(self._numbers)
        ip, inside = _PODS.format(number // 256, number % 256), f"nsenter -t {sandbox} -n"
        _run(f"ip link add v{number} type veth peer name eth0 netns {sandbox}")
        _run(f"ip link set v{number} up")
        _run(f"ip route add {ip} dev v{number} src {NODE}")
        _run(f"{inside} ip addr add {ip}/32 dev eth0")
        _run(f"{inside} ip link set eth0 up")
        _run(f"{inside} ip link set lo up")
        _run(f"{inside} ip route add {NODE} dev eth0")
        _run(f"{inside} ip route add default via {NODE}")
        return ip

    async def update(self, endpoints: list[Endpoint]) -> None:
        """Names, services and policies after a pod came, went, or changed its readiness."""
        async with self._turn:
            self._write_hosts(endpoints)
            await _restore(self._proxy(endpoints) + self._filter(endpoints))

    def _write_hosts(self, endpoints: list[Endpoint]) -> None:
        lines = ["127.0.0.1 localhost"]
        for service in self._services:
            name = service["metadata"]["name"]
            if name in self.cluster_ips:
                lines.append(f"{self.cluster_ips[name]} {name} {name}.default.svc.cluster.local")
                continue
            for endpoint in _of(service, endpoints):
                lines.append(f"{endpoint.ip} {name} {name}.default.svc.cluster.local")
                if endpoint.hostname:
                    lines.append(f"{endpoint.ip} {endpoint.hostname}.{name}")
        lines += [f"{endpoint.ip} {endpoint.name}" for endpoint in endpoints]
        partial = self._hosts.with_name("hosts.partial")
        partial.write_text("\n".join(lines) + "\n")
        partial.chmod(0o644)
        partial.replace(self._hosts)

    def _proxy(self, endpoints: list[Endpoint]) -> str:
        """kube-proxy: every new connection to a service goes to one of its ready pods, by chance."""
        rules = []
        for service, port, ip in self._ports():
            ready = _of(service, endpoints)
            for number, endpoint in enumerate(ready):
                target = port_number(port.get("targetPort", port["port"]), endpoint.containers)
                chance = f"-m statistic --mode random --probability {1 / (len(ready) - number):.6f}"
                rules += [
                    f"-A {chain} -d {ip} -p tcp --dport {port['port']} {chance} "
                    f"-j DNAT --to-destination {endpoint.ip}:{target}"
                    for chain in ("PREROUTING", "OUTPUT")
                ]
        chains = [":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
        return "\n".join(["*nat", *chains, *rules, "COMMIT", ""])

    def _filter(self, endpoints: list[Endpoint]) -> str:
        """What each pod may send, then what each may get. The node itself may always ask: the probes."""
        chains, rules = [":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"], []
        for service, port, ip in self._ports():
            if not _of(service, endpoints):  # refuses, as kube-proxy has it
                refused = f"-d {ip} -p tcp --dport {port['port']} -j REJECT"
                rules += [f"-A FORWARD {refused}", f"-A OUTPUT {refused}"]
        rules.append("-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
        for side, pod_is, peer_is, peers in (
            ("Egress", "-s", "-d", "to"),
            ("Ingress", "-d", "-s", "from"),
        ):
            for pod in endpoints:
                selecting = self._selecting(pod, side)
                if not selecting:
                    continue
                chain = f"{side}-{pod.ip}"
                chains.append(f":{chain} - [0:0]")
                rules.append(f"-A FORWARD {pod_is} {pod.ip} -j {chain}")
                for rule in (each for spec in selecting for each in spec.get(side.lower()) or ()):
                    for ip in _peers(rule.get(peers), endpoints):
                        address = f"{peer_is} {ip}" if ip else ""
                        owner = pod if side == "Ingress" else None
                        rules += [f"-A {chain} {address} {p} -j RETURN" for p in _on(rule, owner)]
                rules.append(f"-A {chain} -j DROP")
        return "\n".join(["*filter", *chains, *rules, "COMMIT", ""])

    def _selecting(self, pod: Endpoint, side: str) -> list[Object]:
        specs = (policy["spec"] for policy in self._policies)
        return [
            spec
            for spec in specs
            if side in spec["policyTypes"] and matches(spec["podSelector"], pod.labels)
        ]

    def _ports(self) -> Iterator[tuple[Object, Object, str]]:
        for service in self._services:
            ip = self.cluster_ips.get(service["metadata"]["name"])
            for port in service["spec"]["ports"] if ip else ():
                yield service, port, ip or ""


def _of(service: Object, endpoints: list[Endpoint]) -> list[Endpoint]:
    """Pods that a service sends to: the ready ones that are not going, or all where it says so."""
    spec = service["spec"]
    selected = [each for each in endpoints if matches(spec["selector"], each.labels)]
    if spec.get("publishNotReadyAddresses"):
        return selected
    return [each for each in selected if each.is_ready and not each.is_terminating]


def _peers(peers: list[Object] | None, endpoints: list[Endpoint]) -> Iterator[str]:
    """Addresses; an empty one is any. Blocks outside are left out: nothing is outside."""
    if not peers:
        yield ""
        return
    for peer in peers:
        if "ipBlock" not in peer:
            selector = peer.get("podSelector", {})
            yield from (each.ip for each in endpoints if matches(selector, each.labels))


def _on(rule: Object, owner: Endpoint | None) -> Iterator[str]:
    """The ports of a rule, as words for iptables."""
    if not rule.get("ports"):
        yield ""
    for port in rule.get("ports") or ():
        number = port_number(port["port"], owner.containers if owner else [])
        yield f"-p {port.get('protocol', 'TCP').lower()} --dport {number}"


async def _restore(rules: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "iptables-restore", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate(rules.encode())
    if process.returncode != 0:
        raise RuntimeError(f"iptables-restore: {error.decode()}\n{rules}")


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{command}: {done.stderr.strip()}")
