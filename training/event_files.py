"""Curves as TensorBoard reads them, where it is installed (`pip install hone-llm[tensorboard]`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class EventFiles:
    """Scalars of one step of a round. `tensorboard --logdir ROUND/tensorboard` shows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start = 0

    def append(self, iteration: int, values: Mapping[str, float]) -> None:
        if find_spec("tensorboard") is None:
            return
        self._start = iteration
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    @cached_property
    def _writer(self) -> Any:
        """Made for the first line: what a killed process wrote from there on is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._folder), purge_step=self._start)
