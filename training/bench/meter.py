"""Seconds and the highest memory of every phase of a training step."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")
_SAMPLE_EVERY_S = 0.005


class Meter:
    """A listener of `training.phases`. Use as a context manager; read `seconds` and `peak_mb` after."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu_seconds: dict[str, float] = defaultdict(float)  # of all threads
        self.peak_mb: dict[str, float] = defaultdict(float)
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._phase: str | None = None
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        if not self._is_cuda:
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if not self._is_cuda:
            self._sampler.join()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if self._is_cuda:
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
        self._phase = name
        started, cpu_started = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            if self._is_cuda:
                torch.cuda.synchronize(self._device)
            self.seconds[name] += time.perf_counter() - started
            self.cpu_seconds[name] += time.process_time() - cpu_started
            self._phase = None
            self._note(name)

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_EVERY_S):
            if (name := self._phase) is not None:
                self._note(name)

    def _note(self, name: str) -> None:
        self.peak_mb[name] = max(self.peak_mb[name], memory_mb(self._device))


def memory_mb(device: torch.device) -> float:
    """Held now; on a GPU, the most that was held since the phase began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def process_peak_mb(device: torch.device) -> float:
    """The most since the process began; of the GPU's memory, since the last phase began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_kb = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak_kb) * 1024 / 1e6
