"""What a step of a round writes as it happens: a line of JSON for each iteration, `metrics.jsonl` above all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import parallel
from training.event_files import EventFiles


class Lines:
    """The lines of one step in a file that the steps share. The first of several processes writes them."""

    def __init__(self, path: Path, *, step: str) -> None:
        self.path = path
        self._step = step

    def append(self, iteration: int, values: Mapping[str, Any]) -> None:
        if not parallel.is_first():
            return
        line = {"t": time.time(), "step": self._step, "iteration": iteration, **values}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def rewind(self, iteration: int) -> None:
        """Drop this step's lines from `iteration` on: what a killed process did after its last
        checkpoint is done again, and must not be there twice."""
        if not (self.path.exists() and parallel.is_first()):
            return
        kept = []
        for line in self.path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # the process died in the middle of it
            row = json.loads(line)
            if row["step"] != self._step or row["iteration"] < iteration:
                kept.append(line)
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(kept))
        partial.rename(self.path)

    def read(self) -> list[dict[str, Any]]:
        """This step's lines, in order."""
        if not self.path.exists():
            return []
        rows = map(json.loads, self.path.read_text().splitlines())
        return [row for row in rows if row["step"] == self._step]


class Curves(Lines):
    """`metrics.jsonl`, and the same for TensorBoard beside it."""

    def __init__(self, path: Path, *, step: str) -> None:
        super().__init__(path, step=step)
        self._event_files = EventFiles(path.parent / "tensorboard" / step)

    def append(self, iteration: int, values: Mapping[str, float]) -> None:
        super().append(iteration, values)
        if parallel.is_first():
            self._event_files.append(iteration, values)
