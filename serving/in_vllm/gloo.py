"""vLLM's weight transfer where there is no GPU: its NCCL engines with gloo in NCCL's place.

The control plane, the checks and the layer-wise loading are vLLM's own, so what is tested here on a CPU
is what runs on GPUs, but for the broadcast itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

import torch
from torch import distributed
from vllm.distributed.utils import init_gloo_process_group
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.nccl_common import (
    NCCLWeightTransferInitInfo,
    worker_init_payload,
)
from vllm.distributed.weight_transfer.nccl_engine import (
    NCCLTrainerInitInfo,
    NCCLTrainerWeightTransferEngine,
    NCCLWeightTransferEngine,
    NCCLWeightTransferUpdateInfo,
)

from serving.in_vllm.worker import Extension

_TIMEOUT = timedelta(seconds=120)  # of one tensor, and of all being there at the start


@dataclass
class GlooTrainerInitInfo(NCCLTrainerInitInfo):  # type: ignore[misc]  # vLLM is read without types
    backend: ClassVar[str] = "gloo"


class GlooTrainer(NCCLTrainerWeightTransferEngine):  # type: ignore[misc]
    """The sending end, in the trainer."""

    @classmethod
    def trainer_init(cls, init_info: Any, *, client: Any, source: Any = None) -> Self:
        """Returns when all engines have joined."""
        trainer = cls(client=client, source=source, packed=False)
        joining = NCCLWeightTransferInitInfo(
            master_address=init_info.master_address,
            master_port=init_info.master_port,
            rank_offset=1,
            world_size=init_info.world_size,
            packed=False,
        )
        with ThreadPoolExecutor(max_workers=1) as executor:
            asked = executor.submit(
                client.init_weight_transfer_engine, worker_init_payload(joining)
            )
            trainer.model_update_group = _group(init_info, rank=0)
            asked.result()
        return trainer

    def _broadcast(self, source: Any, meta: Any) -> None:
        for _, tensor in self._checked_iter(source, meta):
            _send(self.model_update_group, tensor.cpu().contiguous())

    def shutdown(self) -> None:
        self.model_update_group = None


class GlooReceiver(NCCLWeightTransferEngine):  # type: ignore[misc]
    """The receiving end, in vLLM's worker."""

    def init_transfer_engine(self, init_info: NCCLWeightTransferInitInfo) -> None:
        parallel = self.parallel_config
        worker = parallel.data_parallel_index * parallel.world_size + parallel.rank
        self.model_update_group = _group(init_info, rank=init_info.rank_offset + worker)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))  # no accelerator to wait for

    def receive_weights(self, update_info: NCCLWeightTransferUpdateInfo) -> None:
        if self.model_update_group is None:
            raise RuntimeError("init_transfer_engine() comes first")
        described = zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True)
        for name, dtype_name, shape in described:
            weight = torch.empty(tuple(shape), dtype=getattr(torch, dtype_name))
            _send(self.model_update_group, weight)
            self.model.load_weights([(name, weight.to(self.device))])

    def shutdown(self) -> None:
        self.model_update_group = None


SENDERS = {
    "nccl": (NCCLTrainerWeightTransferEngine, NCCLTrainerInitInfo),
    "gloo": (GlooTrainer, GlooTrainerInitInfo),
}


class Registered(Extension):
    """A worker that loads this module knows the backend."""


def _group(init_info: Any, *, rank: int) -> Any:
    size = init_info.world_size
    # torch's own rendezvous would take torchrun's store for this one.
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        init_info.master_address, init_info.master_port, size, is_master=rank == 0, timeout=_TIMEOUT
    )
    prefixed = distributed.PrefixStore("weights", store)  # type: ignore[attr-defined]
    return init_gloo_process_group(prefixed, rank, size, _TIMEOUT)


def _send(group: Any, tensor: torch.Tensor) -> None:
    """From rank 0 into the others' tensors. As bytes: gloo need not know the dtype."""
    group.broadcast(tensor.view(-1).view(torch.uint8), 0).wait()


WeightTransferEngineFactory.register_engine("gloo", GlooReceiver)
