"""Startup, readiness and liveness, asked as a kubelet asks them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from tests.helm.kubelet.containers import Container
from tests.helm.kubelet.manifests import Object, port_number


@dataclass(kw_only=True)
class Health:
    """Of one container's run. Written by its probes."""

    has_started: bool = False
    is_ready: bool = False
    last_failure: str = ""


async def watch(
    container: Container, ip: str, health: Health, *, on_ready: Callable[[], Awaitable[None]]
) -> str:
    """Keeps `health` up to date; returns why the container has to be restarted. Cancelled when it ends."""
    manifest = container.manifest
    if startup := manifest.get("startupProbe"):
        if reason := await _until_started(container, ip, startup, health):
            return f"startup: {reason}"
    health.has_started = True
    readiness = asyncio.create_task(_readiness(container, ip, health, on_ready))
    try:
        return f"liveness: {await _until_dead(container, ip)}"
    finally:
        readiness.cancel()


async def _until_started(container: Container, ip: str, probe: Object, health: Health) -> str:
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    for _ in range(probe.get("failureThreshold", 3)):
        health.last_failure = await ask(container, ip, probe)
        if not health.last_failure:
            return ""
        await asyncio.sleep(probe.get("periodSeconds", 10))
    return health.last_failure


async def _readiness(
    container: Container, ip: str, health: Health, on_ready: Callable[[], Awaitable[None]]
) -> None:
    probe = container.manifest.get("readinessProbe")
    if probe is None:
        health.is_ready = True
        await on_ready()
        return
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    num_failed = num_passed = 0
    while True:
        health.last_failure = await ask(container, ip, probe)
        num_failed = num_failed + 1 if health.last_failure else 0
        num_passed = 0 if health.last_failure else num_passed + 1
        is_ready = health.is_ready
        if num_passed >= probe.get("successThreshold", 1):
            is_ready = True
        elif num_failed >= probe.get("failureThreshold", 3):
            is_ready = False
        if is_ready != health.is_ready:
            health.is_ready = is_ready
            await on_ready()
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def _until_dead(container: Container, ip: str) -> str:
    probe = container.manifest.get("livenessProbe")
    if probe is None:
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    num_failed = 0
    while True:
        failure = await ask(container, ip, probe)
        num_failed = num_failed + 1 if failure else 0
        if num_failed >= probe.get("failureThreshold", 3):
            return failure
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def ask(container: Container, ip: str, probe: Object) -> str:
    """Why the probe fails now; empty when it passes."""
    timeout_s = probe.get("timeoutSeconds", 1)
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            if "exec" in probe:
                code, said = await container.run(probe["exec"]["command"], timeout_s=timeout_s)
                return "" if code == 0 else f"exit {code}: {said.strip()[-500:]}"
            if "httpGet" in probe:
                return await _get(container, ip, probe["httpGet"])
            port = port_number(probe["tcpSocket"]["port"], [container.manifest])
            _, writer = await asyncio.open_connection(ip, port)
            writer.close()
            return ""
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        return f"{type(error).__name__} {error} after {time.monotonic() - began:.1f} s"


async def _get(container: Container, ip: str, get: Object) -> str:
    port = port_number(get["port"], [container.manifest])
    url = f"{get.get('scheme', 'HTTP').lower()}://{ip}:{port}{get.get('path', '/')}"
    headers = {each["name"]: each["value"] for each in get.get("httpHeaders", ())}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        if 200 <= response.status < 400:
            return ""
        return f"{response.status} {(await response.text())[-500:]}"
