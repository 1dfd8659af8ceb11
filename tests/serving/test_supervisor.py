"""With real processes: small ones, that die, hang, fork and ignore signals on demand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from serving.stack import tether
from serving.stack.parts import Part
from serving.stack.probes import Start, log_says
from serving.stack.supervisor import MOST_PATIENCE, Supervisor, Watched, next_backoff

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
# A child in a session of its own, like a training step, and a grandchild in the parent's session.
FAMILY = (
    "import subprocess, sys; code = 'import time; time.sleep(600)'\n"
    "subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
    "subprocess.Popen([sys.executable, '-c', code])\n" + SLEEP
)


def python_part(name: str, code: str, **more: object) -> Part:
    fields = {"ready": log_says("up"), **more}
    return Part(name=name, command=(sys.executable, "-c", code), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("previous_s", "well_for_s", "expected_s"),
    [(0.0, 0.0, 0.5), (0.5, 3.0, 1.0), (16.0, 0.0, 30.0), (30.0, 59.0, 30.0), (30.0, 60.0, 0.5)],
)
def test_backoff_doubles_to_half_a_minute_and_starts_anew_after_a_minute_of_health(
    previous_s: float, well_for_s: float, expected_s: float
) -> None:
    assert next_backoff(previous_s, well_for_s=well_for_s) == expected_s


class Running:
    """A supervisor under test, its loop, and every change it told."""

    def __init__(self, folder: Path, parts: list[Part]) -> None:
        self.stack = secrets.token_hex(8)
        self.changes: list[tuple[str, str]] = []
        self.stopping = asyncio.Event()
        self.supervisor = Supervisor(
            parts,
            stack=self.stack,
            environment=dict(os.environ),
            log_dir=folder / "logs",
            on_change=self._changed,
        )

    def _changed(self, watched: Watched) -> None:
        self.changes.append((watched.part.name, watched.state))

    @contextlib.asynccontextmanager
    async def on(self) -> AsyncIterator[Supervisor]:
        async with self.supervisor:
            watching = asyncio.create_task(self.supervisor.run(self.stopping))
            try:
                yield self.supervisor
            finally:
                self.stopping.set()
                await watching

    async def until(self, holds: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                await asyncio.sleep(0.02)

    def living(self) -> list[psutil.Process]:
        return tether.members(self.stack, ())


async def test_a_part_waits_for_those_it_needs(tmp_path: Path) -> None:
    slow = python_part("log", "import time; time.sleep(0.5); " + SLEEP)
    running = Running(tmp_path, [python_part("reader", SLEEP, needs=("log",)), slow])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
    states = [change for change in running.changes if change[1] in ("starting", "ready")]
    assert states == [
        ("log", "starting"),
        ("log", "ready"),
        ("reader", "starting"),
        ("reader", "ready"),
    ]


async def test_a_part_that_dies_is_started_again_later_and_later(tmp_path: Path) -> None:
    running = Running(tmp_path, [python_part("crasher", "raise SystemExit(7)")])
    async with running.on() as supervisor:
        watched = supervisor.watched["crasher"]
        await running.until(lambda: watched.num_restarts == 3)
        assert watched.why == "exited with 7"
        assert watched.backoff_s == 2.0


async def test_a_killed_part_is_ready_again_with_another_pid(tmp_path: Path) -> None:
    running = Running(tmp_path, [python_part("worker", SLEEP)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        first = supervisor.pids()["worker"]
        os.kill(first, signal.SIGKILL)
        await running.until(lambda: supervisor.watched["worker"].num_restarts == 1)
        await running.until(lambda: supervisor.all_ready)
        assert supervisor.watched["worker"].why == "ended by SIGKILL"
        assert supervisor.pids()["worker"] != first


async def test_children_of_a_part_that_died_are_ended_before_it_starts_again(
    tmp_path: Path,
) -> None:
    running = Running(tmp_path, [python_part("family", FAMILY)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        first = supervisor.pids()["family"]
        os.kill(first, signal.SIGKILL)
        await running.until(lambda: supervisor.watched["family"].num_restarts == 1)
        assert tether.members("", (first,)) == []


async def test_a_part_that_is_not_ready_in_time_is_started_again(tmp_path: Path) -> None:
    silent = python_part("engine", "import time; time.sleep(600)", start_timeout_s=0.5)
    running = Running(tmp_path, [silent])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.watched["engine"].num_restarts == 1)
        assert supervisor.watched["engine"].why == "not ready after 1 s"


async def test_a_part_that_was_too_slow_gets_twice_the_time_next(tmp_path: Path) -> None:
    slow = python_part("engine", "import time; time.sleep(600)", start_timeout_s=0.2)
    running = Running(tmp_path, [slow])
    async with running.on() as supervisor:
        engine = supervisor.watched["engine"]
        await running.until(lambda: engine.num_restarts == 3)
        assert engine.patience == MOST_PATIENCE


async def test_a_part_that_answers_no_more_is_shown_as_unwell(tmp_path: Path) -> None:
    well = tmp_path / "well"
    well.touch()

    async def alive(_start: Start) -> bool:
        return well.exists()

    running = Running(tmp_path, [python_part("engine", SLEEP, alive=alive)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        well.unlink()
        await running.until(lambda: supervisor.watched["engine"].state == "unwell")
        well.touch()
        await running.until(lambda: supervisor.watched["engine"].state == "ready")
        assert supervisor.watched["engine"].num_restarts == 0


async def test_stopping_leaves_no_process_not_even_one_that_left_its_session(
    tmp_path: Path,
) -> None:
    running = Running(tmp_path, [python_part("family", FAMILY), python_part("redis", SLEEP)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        await running.until(lambda: len(running.living()) == 4)
    assert running.living() == []


async def test_a_part_that_ignores_sigterm_is_gone_within_ten_seconds(tmp_path: Path) -> None:
    running = Running(tmp_path, [python_part("stubborn", STUBBORN), python_part("redis", STUBBORN)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        asked = time.monotonic()
    assert time.monotonic() - asked < 10.0
    assert running.living() == []


async def test_asked_twice_it_stops_at_once(tmp_path: Path) -> None:
    running = Running(tmp_path, [python_part("stubborn", STUBBORN)])
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
        supervisor.forced = True
        asked = time.monotonic()
    assert time.monotonic() - asked < 2.0
    assert running.living() == []


async def test_redis_outlives_those_that_write_to_it(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    last_words = (
        "import pathlib, signal, sys\n"
        "def end(*_):\n"
        f"    open({str(ended)!r}, 'a').write(sys.argv[0] + NAME + '\\n'); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end)\n" + SLEEP
    )
    parts = [
        python_part(name, f"NAME = {name!r}\n{last_words}")
        for name in ("redis", "gateway", "train")
    ]
    running = Running(tmp_path, parts)
    async with running.on() as supervisor:
        await running.until(lambda: supervisor.all_ready)
    assert ended.read_text().split()[-1] == "-credis"


def test_kill_9_of_hone_up_leaves_no_process(tmp_path: Path) -> None:
    stack = secrets.token_hex(8)
    code = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.serving.test_supervisor import FAMILY, STUBBORN, python_part\n"
        "from serving.stack.supervisor import Supervisor\n"
        "async def main():\n"
        "    parts = [python_part('family', FAMILY), python_part('stubborn', STUBBORN)]\n"
        f"    supervisor = Supervisor(parts, stack={stack!r}, environment=dict(os.environ),\n"
        f"        log_dir=Path({str(tmp_path)!r}), on_change=lambda watched: None)\n"
        "    async with supervisor:\n"
        "        asyncio.create_task(supervisor.run(asyncio.Event()))\n"
        "        while not supervisor.all_ready: await asyncio.sleep(0.05)\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    assert len(tether.members(stack, ())) >= 3
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while tether.members(stack, ()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tether.members(stack, ()) == []
