"""Ends every process of a stack once `hone up` is gone, however it went: also by kill -9.

`hone up` starts one `python -m serving.stack.tether STACK` and writes into its standard input the session
of every part it starts ("+1234") and of every one that is gone ("-1234"). When the kernel closes that
pipe, its holder is dead, and what is left is ended. A process belongs to the stack by its session or by
`HONE_STACK` in its environment: vLLM's children overwrite their environment with a process title, and
a training step may open a session of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable

import psutil

MARK = "HONE_STACK"
GRACE_S = 6.0


def members(stack: str, sessions: Collection[int]) -> list[psutil.Process]:
    """Living processes of the stack, zombies and the asker left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and _belongs(process, stack, sessions):
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError, psutil.AccessDenied):
            continue
    return found


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """A signal to each, those that are gone meanwhile left out."""
    for process in processes:
        try:
            process.send_signal(number)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def end(stack: str, sessions: Collection[int], *, grace_s: float = GRACE_S) -> None:
    """SIGTERM to all, then SIGKILL to those still there, until none is."""
    send(members(stack, sessions), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while members(stack, sessions) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill(stack, sessions)


def kill(stack: str, sessions: Collection[int], *, timeout_s: float = 3.0) -> None:
    """SIGKILL until none is left: a process may fork while the others are being killed."""
    deadline = time.monotonic() + timeout_s
    while (left := members(stack, sessions)) and time.monotonic() < deadline:
        send(left, signal.SIGKILL)
        time.sleep(0.02)


def main() -> None:
    """Wait for the pipe to close. Signals meant for a terminal's foreground are not for us."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        sign, session = line[0], int(line[1:])
        (sessions.add if sign == "+" else sessions.discard)(session)
    end(sys.argv[1], sessions)


def _belongs(process: psutil.Process, stack: str, sessions: Collection[int]) -> bool:
    if os.getsid(process.pid) not in sessions and (
        not stack or process.environ().get(MARK) != stack
    ):
        return False
    return process.status() != psutil.STATUS_ZOMBIE


if __name__ == "__main__":
    main()
