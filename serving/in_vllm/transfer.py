"""Weights that a trainer sends instead of writing them to a disk: vLLM's weight-transfer API.

1. `POST /policy/transfer`: the engine joins the trainer's group (NCCL, or gloo where there is no GPU).
2. `PUT /policy {version, sent}`: it takes the tensors that `sent` names while the trainer broadcasts them.
3. `DELETE /policy/transfer`: it leaves the group.

What comes was never a file: it has no digest, and a failed transfer leaves nothing to go back to but the
base. So this is for engines that roll out, and none that answers people gets its weights this way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feedback.errors import BadRequest, Refused, Unavailable
from serving import artifact

log = logging.getLogger("vllm.hone")

Shape = TypeVar("Shape", bound=BaseModel)

_RECEIVE_S = 300.0  # 140 GB over a link of 4 Gbit/s; beyond it the trainer is dead
_TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Membership(BaseModel):
    """`POST /policy/transfer`: the group, as vLLM's `init_info` has it, and what the trainer trains."""

    model_config = ConfigDict(extra="forbid")

    group: str = Field(min_length=1, max_length=64)  # the trainer's name for it
    base_digest: str
    master_address: str
    master_port: int = Field(ge=1, le=65535)
    rank_offset: int = Field(ge=1)
    world_size: int = Field(ge=2)
    packed: bool
    packed_buffer_size_bytes: int = Field(ge=1)
    packed_num_buffers: int = Field(ge=1)


class Sent(BaseModel):
    """vLLM's `update_info`: the tensors in the order in which they come."""

    model_config = ConfigDict(extra="forbid")

    names: list[str]
    dtype_names: list[str]
    shapes: list[tuple[int, ...]]


class Transfer:
    """One per server. Its callers hold the endpoint's lock."""

    def __init__(self, base_model: Path, *, base_digest: str) -> None:
        self._base_model = base_model
        self._base_digest = base_digest
        self._group: str | None = None

    def state(self, engine: Any) -> dict[str, Any]:
        """What a trainer needs to know of this engine to send it weights."""
        return {
            "backend": _backend(engine),
            "workers": engine.vllm_config.parallel_config.world_size_across_dp,
            "group": self._group,
        }

    async def join(self, engine: Any, body: dict[str, Any]) -> dict[str, Any]:
        """Returns when all of the group are there. A group joined before is left."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        if _backend(engine) is None:
            raise Refused(
                "this engine takes weights by path: start it with HONE_SERVING_WEIGHT_TRANSFER=nccl, or "
                "gloo where it has no GPU"
            )
        member = _parsed(Membership, body)
        if member.base_digest != self._base_digest:
            raise Refused(
                f"weights over base {member.base_digest[:12]}… would be sent, this engine runs "
                f"{self._base_digest[:12]}…"
            )
        await self.leave(engine)
        init_info = member.model_dump(exclude={"group", "base_digest"})
        try:
            await engine.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info))
        except Exception as error:  # whatever the worker raised: it is in no group
            raise Refused(f"this engine could not join the trainer's group: {error}") from error
        self._group = member.group
        return {"group": member.group}

    async def leave(self, engine: Any) -> dict[str, Any]:
        if self._group is not None:
            self._group = None
            await engine.shutdown_weight_transfer_engine()
        return {"group": None}

    def check(self, body: Any) -> Sent:
        """Before anything is touched: may these tensors take the place of what runs? Raises Refused."""
        if self._group is None:
            raise Refused("this engine is in no trainer's group: POST /policy/transfer comes first")
        sent = _parsed(Sent, body)
        if not len(sent.names) == len(sent.dtype_names) == len(sent.shapes):
            raise BadRequest("names, dtype_names and shapes are not as many of each")
        base = artifact.tensors(self._base_model)
        found = dict(zip(sent.names, zip(sent.dtype_names, sent.shapes, strict=True), strict=True))
        if len(found) < len(sent.names) or found.keys() != base.keys():
            odd = sorted(found.keys() ^ base.keys()) or sent.names
            raise Refused(f"what is sent is not this engine's model: see tensor {odd[0]}")
        for name, (dtype, shape) in found.items():
            wanted = (_TORCH_NAMES[base[name].dtype], base[name].shape)
            if (dtype, shape) != wanted:
                raise Refused(f"{name} would come as {dtype} {shape}, needed is {wanted}")
        return sent

    async def receive(self, engine: Any, sent: Sent) -> None:
        """The engine is paused. Raises whatever the worker raised; the weights are of no use then."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        try:
            async with asyncio.timeout(_RECEIVE_S):
                await engine.start_weight_update()
                request = WeightTransferUpdateRequest(update_info=sent.model_dump())
                await engine.update_weights(request)
                await engine.finish_weight_update()
        except TimeoutError as error:  # a worker that waits in NCCL can be freed by nobody
            log.error("the trainer has stopped sending; the engine ends")
            engine.shutdown()
            os.kill(os.getpid(), signal.SIGTERM)
            raise Unavailable("the trainer has stopped sending; the engine ends") from error
        except BaseException:
            self._group = None  # its members no longer agree on what comes next
            raise


def _backend(engine: Any) -> str | None:
    config = engine.vllm_config.weight_transfer_config
    return None if config is None else str(config.backend)


def _parsed(shape: type[Shape], body: Any) -> Shape:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise BadRequest(f"{where}: {first['msg']}") from error
