"""Starts parts in the order of their needs, restarts those that die, and leaves no process behind.

One thread, one loop. A part's life:

    waiting ──needs ready──> starting ──probe holds──> ready <──> unwell
       ^                        │ too slow                │ too long unwell
       └──── back-off over ── backing off <── dies ───────┘
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.stack import tether
from serving.stack.parts import Part
from serving.stack.probes import Start, holds

TICK_S = 0.1
PROBE_EVERY_S = {"starting": 0.3, "ready": 5.0, "unwell": 5.0}
UNWELL_LIMIT_S = 90.0  # a busy engine answers late; one that has not answered for so long is stuck
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
FORGIVEN_AFTER_S = 60.0  # a part that was well for so long starts with the first back-off again
MOST_PATIENCE = 8.0
LAST_GRACE_S = 2.0  # for the parts that are stopped after all others
_LOG_LIMIT_BYTES = 50_000_000


@dataclass(kw_only=True)
class Watched:
    """A part and how it is. Written by the supervisor only."""

    part: Part
    log: Path
    # waiting | starting | ready | unwell | backing off | stopping | stopped
    state: str = "waiting"
    since: float = field(default_factory=time.monotonic)  # of this state, monotonic s
    why: str = ""  # why it was last restarted
    num_restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    log_offset: int = 0  # bytes in the log before this start
    backoff_s: float = 0.0
    patience: float = 1.0  # times the part's start_timeout_s
    probe: asyncio.Task[bool] | None = None
    probed: float = 0.0  # monotonic s of the last answer

    @property
    def pid(self) -> int | None:
        return (
            self.process.pid if self.process is not None and self.process.poll() is None else None
        )


def next_backoff(previous_s: float, *, well_for_s: float) -> float:
    """Doubles from the first to the longest; starts anew after a time of health."""
    if previous_s == 0.0 or well_for_s >= FORGIVEN_AFTER_S:
        return FIRST_BACKOFF_S
    return min(2 * previous_s, LONGEST_BACKOFF_S)


class Supervisor:
    """Use as `async with`: on leaving, every process of the stack is gone."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        stack: str,
        environment: Mapping[str, str],
        log_dir: Path,
        on_change: Callable[[Watched], None],
        last: Collection[str] = ("redis",),
    ) -> None:
        self.watched = {
            part.name: Watched(part=part, log=log_dir / f"{part.name}.log") for part in parts
        }
        self.forced = False  # a second Ctrl-C: no more grace
        self._stack = stack
        self._environment = {**environment, tether.MARK: stack}
        self._on_change = on_change
        self._last = frozenset(last)
        self._sessions: set[int] = set()
        self._tether: subprocess.Popen[bytes] | None = None
        log_dir.mkdir(parents=True, exist_ok=True)

    async def __aenter__(self) -> Supervisor:
        self._tether = subprocess.Popen(
            [sys.executable, "-m", "serving.stack.tether", self._stack],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()
        assert self._tether is not None
        assert self._tether.stdin is not None
        self._tether.stdin.close()
        await asyncio.to_thread(self._tether.wait)

    @property
    def all_ready(self) -> bool:
        return all(watched.state in ("ready", "unwell") for watched in self.watched.values())

    def pids(self) -> dict[str, int]:
        return {name: pid for name, one in self.watched.items() if (pid := one.pid) is not None}

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set."""
        while not stopping.is_set():
            for watched in self.watched.values():
                self._advance(watched)
            await asyncio.sleep(TICK_S)

    async def stop(self) -> None:
        """SIGTERM, grace, SIGKILL: first all that may still write to the log, then the log itself."""
        for watched in self.watched.values():
            if watched.probe is not None:
                watched.probe.cancel()
            if watched.state not in ("stopping", "stopped"):
                self._enter(watched, "stopping" if watched.pid else "stopped")
        last = {pid for name, pid in self.pids().items() if name in self._last}
        await self._end(self._sessions - last, spare=last, grace_s=tether.GRACE_S)
        await self._end(self._sessions, spare=set(), grace_s=LAST_GRACE_S)
        for watched in self.watched.values():
            if watched.process is not None:
                await asyncio.to_thread(watched.process.wait)

    def _advance(self, watched: Watched) -> None:
        """One look at one part."""
        if watched.state == "waiting":
            if all(self.watched[need].state in ("ready", "unwell") for need in watched.part.needs):
                self._start(watched)
            return
        if watched.state == "backing off":
            if time.monotonic() - watched.since >= watched.backoff_s:
                self._start(watched)
            return
        assert watched.process is not None
        code = watched.process.poll()
        if code is not None:
            self._restart_later(watched, _how_it_ended(code))
            return
        self._consider(watched)

    def _consider(self, watched: Watched) -> None:
        """What the last probe said, and whether it is time for the next."""
        if watched.probe is not None:
            if watched.probe.done():
                well, watched.probe = watched.probe.result(), None
                watched.probed = time.monotonic()
                self._judge(watched, well=well)
            return
        if time.monotonic() - watched.probed < PROBE_EVERY_S[watched.state]:
            return
        question = watched.part.ready if watched.state == "starting" else watched.part.alive
        if question is not None:
            start = Start(log=watched.log, log_offset=watched.log_offset)
            watched.probe = asyncio.create_task(holds(question, start))

    def _judge(self, watched: Watched, *, well: bool) -> None:
        state_for_s = time.monotonic() - watched.since
        if well:
            if watched.state != "ready":
                self._enter(watched, "ready")
        elif watched.state == "ready":
            self._enter(watched, "unwell")
        elif watched.state == "unwell" and state_for_s > UNWELL_LIMIT_S:
            self._restart_later(watched, f"no answer for {state_for_s:.0f} s")
        elif watched.state == "starting":
            if state_for_s > watched.part.start_timeout_s * watched.patience:
                # On a machine so busy that no start was ever in time, one that is given more is.
                watched.patience = min(2 * watched.patience, MOST_PATIENCE)
                self._restart_later(watched, f"not ready after {state_for_s:.0f} s")

    def _start(self, watched: Watched) -> None:
        if watched.log.exists() and watched.log.stat().st_size > _LOG_LIMIT_BYTES:
            watched.log.replace(watched.log.with_suffix(".log.1"))
        with watched.log.open("ab") as log:
            watched.log_offset = log.tell()
            watched.process = subprocess.Popen(
                watched.part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**self._environment, **watched.part.env},
            )
        self._sessions.add(watched.process.pid)
        self._tell_tether(f"+{watched.process.pid}")
        self._enter(watched, "starting")

    def _restart_later(self, watched: Watched, why: str) -> None:
        """End what is left of it, children included: they hold its port and its memory."""
        assert watched.process is not None
        if watched.probe is not None:
            watched.probe.cancel()
            watched.probe = None
        tether.kill("", (watched.process.pid,))
        watched.process.wait()
        # The number may soon be the session of somebody else's process.
        self._sessions.discard(watched.process.pid)
        self._tell_tether(f"-{watched.process.pid}")
        well_for_s = time.monotonic() - watched.since if watched.state == "ready" else 0.0
        watched.backoff_s = next_backoff(watched.backoff_s, well_for_s=well_for_s)
        watched.num_restarts += 1
        watched.why = why
        self._enter(watched, "backing off")

    def _tell_tether(self, line: str) -> None:
        assert self._tether is not None
        assert self._tether.stdin is not None
        self._tether.stdin.write(f"{line}\n".encode())
        self._tether.stdin.flush()

    def _enter(self, watched: Watched, state: str) -> None:
        watched.state, watched.since, watched.probed = state, time.monotonic(), 0.0
        self._on_change(watched)

    async def _end(
        self, sessions: Collection[int], *, spare: Collection[int], grace_s: float
    ) -> None:
        def left() -> list[Any]:
            for watched in self.watched.values():
                if watched.state == "stopping" and watched.pid is None:  # asking reaps it
                    self._enter(watched, "stopped")
            found = tether.members(self._stack, sessions)
            return [process for process in found if _session(process.pid) not in spare]

        tether.send(left(), signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while left() and time.monotonic() < deadline and not self.forced:
            await asyncio.sleep(TICK_S)
        deadline = time.monotonic() + 1.0
        while (processes := left()) and time.monotonic() < deadline:
            tether.send(processes, signal.SIGKILL)
            await asyncio.sleep(0.02)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
