"""Training in several processes (`torchrun`): each takes its part of every batch, all make the same step.

Alone, everything here does nothing. Losses are shares of the whole batch, so gradients are summed,
never averaged. Sharded weights (FSDP2's DTensors) sum their gradients themselves. Every process must
do the same number of forward and backward passes: sharded weights are fetched from all in each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import cycle, islice
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from feedback.errors import Unprocessable
from training.batches import passes

Result = TypeVar("Result")
_TIMEOUT = timedelta(hours=1)  # the others wait while the first one samples


def start(device: torch.device) -> None:
    """Meet the other processes, if `torchrun` started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)


def stop() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def size() -> int:
    """Processes in all."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which one this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """The one that writes files and speaks to engines."""
    return rank() == 0


def from_first(make: Callable[[], Result]) -> Result:
    """What `make` gives in the first process, in all of them."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def total(values: Tensor) -> Tensor:
    """The sum over processes of a tensor of the same shape in each."""
    if size() > 1:
        values = values.clone()
        distributed.all_reduce(values)
    return values


def totals(values: dict[str, float], *, device: torch.device) -> dict[str, float]:
    """The sums of named numbers; every process has the same names."""
    if size() == 1:
        return values
    names = sorted(values)
    sums = total(torch.tensor([values[name] for name in names], device=device))
    return dict(zip(names, sums.tolist(), strict=True))


def gathered(values: Tensor) -> Tensor:
    """The tensors of all processes, one after another; lengths may differ."""
    if size() == 1:
        return values
    parts: list[Any] = [None] * size()
    distributed.all_gather_object(parts, values.cpu())
    return torch.cat(parts).to(values.device)


def share(items: Sequence[Result]) -> list[Result]:
    """This process's part. Raises Unprocessable when the parts would differ in number."""
    if len(items) % size():
        raise Unprocessable(
            f"{len(items)} rows cannot be dealt to {size()} processes: make the recipe's batch sizes "
            "multiples of the number of processes"
        )
    return list(items[rank() :: size()])


def repeated(items: Sequence[Result]) -> list[Result]:
    """The items, and the first ones again until all processes get as many."""
    return list(islice(cycle(items), math.ceil(len(items) / size()) * size()))


def shared_passes(
    lengths: Sequence[int], *, max_tokens: int
) -> tuple[list[list[int]], list[list[int]]]:
    """(this process's passes, all processes' passes) over rows of these lengths, as indices.

    Every process makes as many passes as the one that needs most.
    """
    shares = [range(r, len(lengths), size()) for r in range(size())]
    share(lengths)
    planned = [
        [
            [part[i] for i in group]
            for group in passes([lengths[i] for i in part], max_tokens=max_tokens)
        ]
        for part in shares
    ]
    most = max(map(len, planned))
    planned = [_cut(groups, most) for groups in planned]
    return planned[rank()], [group for groups in planned for group in groups]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of weights that every process holds whole."""
    if size() == 1:
        return
    whole = [p.grad for p in parameters if p.grad is not None and not isinstance(p, DTensor)]
    if not whole:
        return
    flat = torch.cat([gradient.flatten() for gradient in whole])
    distributed.all_reduce(flat)
    for gradient, summed in zip(whole, flat.split([g.numel() for g in whole]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def clip_gradients(parameters: Iterable[nn.Parameter], *, max_norm: float) -> float:
    """Scale gradients to `max_norm` at most; returns the norm as it was, over all processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.zeros((), device=gradients[0].device)
    sharded = torch.zeros_like(squares)
    for gradient in gradients:
        if isinstance(gradient, DTensor):
            sharded += gradient.to_local().float().square().sum()
        else:
            squares += gradient.float().square().sum()
    norm = (squares + total(sharded)).sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        (gradient.to_local() if isinstance(gradient, DTensor) else gradient).mul_(factor)
    return norm.item()


def whole(tensor: Tensor) -> Tensor:
    """A copy on the CPU of a tensor that may be sharded; all processes must ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().clone()


@torch.no_grad()
def copy_into(target: Tensor, source: Tensor) -> None:
    """Put a whole tensor, the same in all processes, into one that may be sharded."""
    if isinstance(target, DTensor):
        from torch.distributed.tensor import distribute_tensor

        source = distribute_tensor(
            source.to(target.device, target.dtype), target.device_mesh, target.placements
        )
    target.copy_(source)


def _cut(groups: list[list[int]], number: int) -> list[list[int]]:
    """So many groups: the ones with most rows are halved."""
    groups = list(groups)
    while len(groups) < number:
        largest = max(groups, key=len)
        groups.remove(largest)
        middle = len(largest) // 2
        groups += [largest[:middle], largest[middle:]]
    return groups
