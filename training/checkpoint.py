"""State on disk: written whole or not at all, read back by the process that comes after a killed one.

A checkpoint is a folder `state-<number>` with `tensors.safetensors` and `facts.json`. It is made under
another name, flushed, and renamed: a folder of that name is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from feedback.errors import HoneError
from training import files, parallel
from training.shortage import is_disk_full

_PREFIX = "state-"


class DiskFull(HoneError):
    """A checkpoint could not be written."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    number: int  # steps or iterations done
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save(
    folder: Path, *, number: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write `state-<number>`, then remove the older ones. The first of several processes writes. Raises
    DiskFull; the older ones stay then."""
    if not parallel.is_first():
        return
    partial = folder / f".partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(partial, tensors, facts)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if is_disk_full(error):
            num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            raise DiskFull(
                f"no room for checkpoint {number}: it takes {num_bytes:,} bytes in {folder}, where "
                f"{shutil.disk_usage(folder).free:,} are free. Free some; the last one is whole, and "
                "training goes on from it"
            ) from error
        raise
    target = folder / f"{_PREFIX}{number:06d}"
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    files.flush(folder)
    for older in _complete(folder)[:-1]:
        shutil.rmtree(older)


def _write(partial: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    partial.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial / "tensors.safetensors")
    (partial / "facts.json").write_text(json.dumps(facts))
    for path in partial.iterdir():
        files.flush(path)


def latest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint; what a killed process left half-written is removed."""
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial)
    found = _complete(folder)
    if not found:
        return None
    return Checkpoint(
        number=int(found[-1].name.removeprefix(_PREFIX)),
        tensors=load_file(found[-1] / "tensors.safetensors"),
        facts=json.loads((found[-1] / "facts.json").read_text()),
    )


def adam_state(optimizer: torch.optim.Adam, names: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Adam's moments and step counts as named tensors."""
    return {
        f"adam/{name}/{key}": parallel.whole(torch.as_tensor(value))
        for name, parameter in names.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_adam_state(
    optimizer: torch.optim.Adam,
    names: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """What `adam_state` saved."""
    for name, parameter in names.items():
        prefix = f"adam/{name}/"
        found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if found:
            optimizer.state[parameter] = {
                key: value if key == "step" else _like(parameter, value)
                for key, value in found.items()
            }


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """On the parameter's device, and sharded as it is."""
    placed = torch.empty_like(parameter, requires_grad=False)
    parallel.copy_into(placed, value)
    return placed


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of `tensors` that `with_prefix` made."""
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}[0-9]*"))
