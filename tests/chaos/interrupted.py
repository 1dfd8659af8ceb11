"""A worker on a round that may be interrupted before and after every command to Redis, and between files.

Real Rounds, worker and publisher; only what a step computes is replaced by small files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from feedback import eventlog
from feedback.errors import Refused
from serving import artifact
from training import files, publish, worker
from training.job import DONE
from training.lease import FENCE, Lease
from training.rounds import Rounds, is_done, may_publish


class Crash(BaseException):
    """The process is gone: nothing that it would have done is done."""


class Fuse:
    """Counts the moments at which a process may be interrupted, and does so at one."""

    def __init__(self) -> None:
        self.has_acted = False
        self._left: int | None = None
        self._act: Callable[[], None] = lambda: None

    def set(self, moment: int | None, act: Callable[[], None]) -> None:
        self._left, self._act, self.has_acted = moment, act, False

    def defuse(self) -> None:
        self._left = None

    def burn(self) -> None:
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left, self.has_acted = None, True
            self._act()


class Interrupted(redis.Redis):
    """A worker's client: before and after each command is a moment."""

    fuse = Fuse()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.fuse.burn()
        reply = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.fuse.burn()
        return reply

    def close(self) -> None:
        """The publisher closes what it opens; this one is opened once."""


class Held:
    """A lease without a thread that renews it."""

    def __init__(self, lease: Lease) -> None:
        self.token = lease.token
        self.is_lost = False


class Steps:
    """What the processes of steps write, with moments in between. One of them breaks, if any."""

    def __init__(self, fuse: Fuse, *, passes: bool, breaks: str | None) -> None:
        self._fuse, self._passes, self._breaks = fuse, passes, breaks

    def __call__(
        self, rounds: Rounds, round_id: str, folder: Path, step: str, holder: worker.Holder
    ) -> int:
        os.environ[FENCE] = holder.token
        (folder / step).mkdir(exist_ok=True)
        if is_done(folder, step):
            return 0
        self._fuse.burn()
        if step == self._breaks:
            return 1
        lease = Lease.from_environment(rounds.redis)
        code = getattr(self, f"_{step}", lambda *_: 0)(rounds, folder)
        if code or not lease.is_mine():
            return code or 1
        files.write_text(folder / step / DONE, "")
        self._fuse.burn()
        return 0

    def _snapshot(self, rounds: Rounds, folder: Path) -> int:
        manifest = folder / "snapshot" / "manifest.json"
        if not manifest.exists():
            bound = eventlog.last_entry(rounds.redis, "feedback")
            files.write_text(manifest, json.dumps({"bounds": {"feedback": bound}}))
        self._fuse.burn()
        return 0

    def _ppo(self, rounds: Rounds, folder: Path) -> int:
        candidate = folder / "ppo" / "candidate"
        if (candidate / artifact.MANIFEST).exists():
            return 0
        candidate.mkdir(exist_ok=True)
        (candidate / "adapter_model.safetensors").write_text(folder.name)
        self._fuse.burn()
        artifact.write_manifest(
            candidate, version="candidate", kind="adapter", parent=None, base_digest="base"
        )
        return 0

    def _gate(self, rounds: Rounds, folder: Path) -> int:
        path = folder / "gate" / "report.json"
        if not path.exists():
            digest = artifact.read_manifest(folder / "ppo" / "candidate").digest
            report = {"digest": digest, "passed": self._passes, "checks": []}
            files.write_text(path, json.dumps(report))
        self._fuse.burn()
        digest = json.loads(path.read_text())["digest"]
        return 0 if may_publish(folder, digest=digest) else worker.EXIT_REFUSED

    def _publish(self, rounds: Rounds, folder: Path) -> int:
        plan = json.loads((folder / "round.json").read_text()) | {"engine_urls": []}
        (folder / "round.json").write_text(json.dumps(plan))
        with contextlib.suppress(Refused):
            publish.run(folder)
            return 0
        return 1
