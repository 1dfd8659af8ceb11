"""What `hone up` shows: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import psutil
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from serving.stack.model import Progress as OnProgress
from serving.stack.supervisor import Watched

MEASURE_EVERY_S = 5.0
_STYLES = {"ready": "green", "starting": "yellow", "unwell": "red", "backing off": "red"}


class Dashboard:
    """Told of changes by the supervisor; asked to `refresh` by the loop."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._memory_bytes: dict[int, int] = {}
        self._measured = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        if self._live is None:
            yield
        else:
            with self._live:
                yield

    def changed(self, watched: Watched) -> None:
        """A line per change where nobody looks at a table."""
        if self._live is not None:
            return
        reason = f": {watched.why}, again in {watched.backoff_s:g} s, log {watched.log}"
        told = reason if watched.state == "backing off" else ""
        self.console.print(
            f"{watched.part.name} {watched.state}{told}", highlight=False, soft_wrap=True
        )

    def refresh(self, watched: Collection[Watched]) -> None:
        if self._live is None:
            return
        if time.monotonic() - self._measured > MEASURE_EVERY_S:
            self._memory_bytes = memory_by_session({pid for one in watched if (pid := one.pid)})
            self._measured = time.monotonic()
        self._live.update(self._table(watched), refresh=True)

    def _table(self, watched: Iterable[Watched]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("part", "state", "since", "restarts", "memory", ""):
            table.add_column(
                name, justify="right" if name in ("since", "restarts", "memory") else "left"
            )
        total = 0
        for one in watched:
            num_bytes = self._memory_bytes.get(one.pid or 0, 0)
            total += num_bytes
            table.add_row(
                one.part.name,
                f"[{_STYLES.get(one.state, 'dim')}]{one.state}[/]",
                duration(time.monotonic() - one.since),
                str(one.num_restarts or ""),
                size(num_bytes),
                f"{one.why}; see {one.log}" if one.why and one.state != "ready" else one.why,
            )
        table.add_row("[dim]all[/]", "", "", "", size(total), "[dim]Ctrl-C stops everything[/]")
        return table


@contextmanager
def making_model(console: Console) -> Iterator[OnProgress]:
    """A progress bar for the first-time work on the model; lines where there is no terminal."""
    if not console.is_terminal:
        yield lambda step, steps, what: console.print(
            f"model {step}/{steps}: {what}", highlight=False
        )
        return
    columns = (SpinnerColumn(), TextColumn("model: {task.description}"), BarColumn())
    bars = Progress(*columns, TimeElapsedColumn(), console=console)
    task = bars.add_task("", total=None)

    def tell(step: int, steps: int, what: str) -> None:
        bars.start()  # not before there is something to tell: most starts have nothing to make
        bars.update(task, completed=step, total=steps, description=what)

    try:
        yield tell
    finally:
        bars.stop()


def memory_by_session(sessions: Collection[int]) -> dict[int, int]:
    """Bytes of each part with all its children; shared pages are counted once (PSS) where Linux says."""
    found = dict.fromkeys(sessions, 0)
    for process in psutil.process_iter():
        try:
            session = os.getsid(process.pid)
            if session in found:
                memory = process.memory_full_info()
                found[session] += getattr(memory, "pss", memory.rss)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return found


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MB" if num_bytes else ""
