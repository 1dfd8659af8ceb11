"""Full weights on their way from the trainer's memory to the engines, over vLLM's weight-transfer API.

1. The trainer and all workers of all engines meet in one group, NCCL on GPUs, gloo on CPUs.
2. After every update: each engine is told what comes (PUT /policy), pauses and takes it as it is broadcast.
3. An engine that was away meets the others in a new group before the next weights.

The engines say which backend they take (GET /policy); serving.in_vllm.transfer is their end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from feedback.errors import HoneError, Unavailable, Unprocessable
from serving import artifact
from serving.engines import Engine
from training.models import POLICY, Models
from training.rollouts import EngineRollouts

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_SEND_S = 360.0  # longer than an engine waits for what is sent
_PARTING_S = 30.0
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def offered(engines: EngineRollouts) -> str | None:
    """The backend that all engines which answer take weights by; None: they want files."""
    backends = {state.get("backend") for state in _states(engines).values()}
    return backends.pop() if len(backends) == 1 else None


class WeightTransfer:
    """The group of trainer and engines, opened with the first weights that are sent."""

    def __init__(
        self, engines: EngineRollouts, *, model: Models, base_model: Path, backend: str
    ) -> None:
        """Raises Unprocessable where this process cannot send by that backend."""
        self._make = _sender(backend, model.device)
        self._engines = engines
        self._device = model.device
        self._source = PolicySource(model.parameters(POLICY), base_model=base_model)
        self._base_digest = artifact.base_digest(base_model)
        self._client = _Client(engines, members={}, base_digest=self._base_digest)
        self._sender: Any = None

    def send(self, version: str) -> None:
        """The policy as it is now, to every engine that answers. Raises HoneError with an engine's
        reason: the group is of no use then, and a resumed step opens another."""
        states = _states(self._engines)
        if not states:
            raise Unavailable("no engine answers that weights could be sent to")
        groups = {state["group"] for state in states.values()}
        if groups != {self._client.group} or states.keys() != self._client.members.keys():
            self._meet({url: state["workers"] for url, state in states.items()})
        self._client.version = version
        self._finished(self._sender.send_weights)

    def close(self) -> None:
        """All leave the group."""
        if self._sender is None:
            return
        sender, self._sender = self._sender, None
        # At once: a communicator may wait for its peers' parting.
        parting: list[Future[Any]] = [
            _begun(sender.shutdown, self._device),
            _begun(self._client.part, self._device),
        ]
        wait(parting, timeout=_PARTING_S)

    def _meet(self, members: Mapping[str, int]) -> None:
        self.close()
        self._client = _Client(self._engines, members=members, base_digest=self._base_digest)
        size = 1 + sum(members.values())
        host, port = _own_address(list(members)), _free_port()
        log.info("a group of %d meets at %s:%d", size, host, port)
        self._sender = self._finished(
            lambda: self._make(host, port, size, client=self._client, source=self._source)
        )

    def _finished(self, work: Callable[[], Result]) -> Result:
        """Its result, or why an engine refused: what waits for that engine in a broadcast would do so for
        ever, and is left behind."""
        failed = self._client.failed
        done = _begun(work, self._device)
        either: list[Future[Any]] = [done, failed]
        wait(either, timeout=_SEND_S, return_when=FIRST_COMPLETED)
        error = done.exception() if done.done() else None
        if error is not None:
            wait([failed], timeout=1)  # an engine's own words say more than a broken connection
        if failed.done():
            failed.result()
        if error is not None:
            raise Unavailable(f"weights could not be sent to the engines: {error}") from error
        if not done.done():
            raise Unavailable(f"the engines have not taken the weights in {_SEND_S:.0f} s")
        return done.result()


class Described(NamedTuple):
    """One tensor that will come; vLLM's ParamMeta."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class PolicySource:
    """The policy under training as vLLM's WeightSource: the base's names and dtypes. Iterating gathers
    sharded weights; other processes take part by `Models.state`."""

    def __init__(self, parameters: dict[str, nn.Parameter], *, base_model: Path) -> None:
        base = artifact.tensors(base_model)
        self._parameters = parameters
        self._dtypes = {name: _DTYPES[base[name].dtype] for name in parameters}

    def metadata(self) -> list[Described]:
        return [
            Described(name, self._dtypes[name], tuple(parameter.shape))
            for name, parameter in self._parameters.items()
        ]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._parameters.items():
            whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            yield name, whole.detach().to(self._dtypes[name])


class _Client:
    """vLLM's VLLMWeightSyncClient: what its sender asks of the engines of one group, all at once."""

    def __init__(
        self, engines: EngineRollouts, *, members: Mapping[str, int], base_digest: str
    ) -> None:
        """`members`: engine URL -> its workers."""
        self.members = members
        self.group = secrets.token_hex(8)
        self.version = ""  # of what is sent next
        self.failed: Future[None] = Future()  # with the first engine's error
        self._engines = engines
        self._base_digest = base_digest

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        named = {"group": self.group, "base_digest": self._base_digest}
        offsets, offset = {}, init_info["rank_offset"]
        for url, workers in self.members.items():
            offsets[url] = offset
            offset += workers
        self._ask(
            lambda engine: engine.join_transfer(
                init_info | named | {"rank_offset": offsets[engine.url]}
            )
        )

    def start_weight_update(self) -> None:
        """Engines do all three at PUT /policy, so that a transfer is one transaction there."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._ask(lambda engine: engine.receive(self.version, update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """See `start_weight_update`."""

    def part(self) -> None:
        self._ask(lambda engine: engine.leave_transfer())

    def _ask(self, ask: Callable[[Engine], Coroutine[Any, Any, Any]]) -> None:
        async def all_of_them() -> None:
            members = [engine for engine in self._engines.engines if engine.url in self.members]
            await asyncio.gather(*map(ask, members))

        try:
            self._engines.run(all_of_them())
        except HoneError as error:
            self.failed.set_exception(error)
            raise


def _states(engines: EngineRollouts) -> dict[str, dict[str, Any]]:
    """`transfer` of GET /policy, of the engines that answer."""

    async def ask() -> list[Any]:
        asked = [engine.policy() for engine in engines.engines]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = zip(engines.engines, engines.run(ask()), strict=True)
    return {e.url: s.get("transfer", {}) for e, s in found if not isinstance(s, BaseException)}


def _sender(backend: str, device: torch.device) -> Callable[..., Any]:
    """vLLM's sending end: (host, port, group size, client, source) -> it."""
    if backend == "nccl" and device.type != "cuda":
        raise Unprocessable(
            "the engines take weights by NCCL, and training runs on a CPU: start the engines with "
            "HONE_SERVING_WEIGHT_TRANSFER=gloo or off, or train on a GPU"
        )
    try:
        from serving.in_vllm import gloo
    except ImportError as error:
        raise Unprocessable(
            f"the engines take weights by {backend}, which needs vLLM beside the trainer too ({error}): "
            "install it, or start the engines with HONE_SERVING_WEIGHT_TRANSFER=off"
        ) from error
    sender, info = gloo.SENDERS[backend]
    return lambda host, port, size, *, client, source: sender.trainer_init(
        info(host, port, size, rank=0), client=client, source=source
    )


def _begun(work: Callable[[], Result], device: torch.device) -> Future[Result]:
    """In a thread that does not keep the process from ending."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # a thread starts on the first one
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # whoever waits gets it
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


def _own_address(urls: list[str]) -> str:
    """This machine's address as the engines see it."""
    found = []
    for url in urls:
        parsed = urlsplit(url)
        with socket.create_connection((parsed.hostname, parsed.port or 80), timeout=5) as connected:
            found.append(str(connected.getsockname()[0]))
    return max(found, key=lambda address: not address.startswith("127."))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])
