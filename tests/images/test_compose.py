"""compose.yaml, read: it names what exists, and every container may do as little as possible."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.images.dockerfile import ROOT, STAGES, last, lineage
from tests.images.settings import known_settings, resolve

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
FOREIGN = {name: service for name, service in SERVICES.items() if "build" not in service}


def _of(profile: str) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in SERVICES.items() if profile in one["profiles"]}


def _is_checked(service: dict[str, Any]) -> bool:
    """By itself, or by its image."""
    if "healthcheck" in service:
        return True
    chain = lineage(STAGES, service["build"]["target"])
    return last(chain, "HEALTHCHECK") not in (None, "NONE")


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_nothing_but_its_work(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith("0")
    assert "privileged" not in service


@pytest.mark.parametrize("name", OURS)
def test_ours_are_targets_of_the_dockerfile_and_run_commands_of_hone(name: str) -> None:
    service = OURS[name]
    assert service["build"]["target"] in STAGES
    assert service["image"].split(":")[0] == f"hone-{service['build']['target']}"
    assert service["user"] == "10001:10001"
    if "command" in service:
        resolve(service["command"])


@pytest.mark.parametrize("name", FOREIGN)
def test_images_of_others_are_pinned(name: str) -> None:
    assert re.fullmatch(r"docker\.io/\S+:v?\d+\.\d+\.\d+\S*", FOREIGN[name]["image"])


def test_it_sets_only_what_there_is() -> None:
    named = set(re.findall(r"HONE_[A-Z_]+", (ROOT / "compose.yaml").read_text()))
    assert named <= known_settings()


def test_secrets_are_in_no_file_of_ours() -> None:
    for service in OURS.values():
        assert service["env_file"] == ["hone.env"]
        assert not any("TOKEN" in key or "KEY" in key for key in service["environment"])
    assert "/hone.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_a_profile_holds_every_part_once(profile: str) -> None:
    commands = {
        " ".join(one.get("command") or [one["build"]["target"]])
        for one in _of(profile).values()
        if "build" in one
    }
    assert commands == {
        *("gateway", "moderation", "engine", "model prepare"),
        *("worker control", "worker train", "beat"),
    }
    assert "redis" in _of(profile)


def test_nothing_waits_for_what_says_nothing_or_is_not_there() -> None:
    for profile in ("cpu", "cuda", "observability"):
        there = _of(profile)
        for service in there.values():
            for other, how in service.get("depends_on", {}).items():
                assert other in there
                if how["condition"] == "service_healthy":
                    assert _is_checked(there[other]), other


def test_only_gateway_and_grafana_can_be_reached_and_from_this_machine_alone() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"gateway", "grafana"}
    assert all("127.0.0.1" in port for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_what_is_mounted_exists_and_volumes_are_declared() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert mount.endswith(":ro")
                assert (ROOT / source).exists(), (name, source)
            else:
                assert source in COMPOSE["volumes"]


def test_the_base_of_the_nvidia_images_is_the_version_in_the_lock() -> None:
    lock = (ROOT / "requirements" / "cuda.lock").read_text()
    version = re.search(r"^vllm==(\S+)$", lock, flags=re.MULTILINE)
    assert version is not None
    bases = {one["build"]["args"]["BASE"] for one in OURS.values() if "args" in one["build"]}
    assert bases == {f"docker.io/vllm/vllm-openai:v{version[1]}"}
    assert bases.pop() in (ROOT / "Dockerfile").read_text()


def test_prometheus_asks_services_at_their_ports() -> None:
    asked = yaml.safe_load((ROOT / "compose" / "prometheus.yaml").read_text())
    for job in asked["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            name, port = target.split(":")
            chain = lineage(STAGES, SERVICES[name]["build"]["target"])
            assert last(chain, "EXPOSE") == port
