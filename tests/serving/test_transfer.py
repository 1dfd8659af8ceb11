"""What an engine says to weights that somebody wants to send it. That they arrive: tests/flows/test_rollouts.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from feedback.errors import BadRequest, Refused, Unprocessable
from serving import artifact
from serving.in_vllm import server
from serving.in_vllm.transfer import Transfer
from serving.settings import ServingSettings
from tests.serving.fake_engine import TOKEN

DIGEST = "b" * 64


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    shapes = {"model.norm.weight": (6,), "lm_head.weight": (8, 6)}
    tensors = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


class Engine:
    """vLLM's engine client: its workers join any group, once they are started for it."""

    def __init__(self, *, backend: str | None, num_workers: int = 2) -> None:
        config = None if backend is None else SimpleNamespace(backend=backend)
        parallel = SimpleNamespace(world_size_across_dp=num_workers)
        self.vllm_config = SimpleNamespace(weight_transfer_config=config, parallel_config=parallel)
        self.joined: list[dict[str, Any]] = []
        self.is_alone = False  # nobody else comes to the group
        self.num_left = 0

    async def init_weight_transfer_engine(self, request: Any) -> None:
        if self.is_alone:
            raise TimeoutError("1 of 3 clients joined")
        self.joined.append(request.init_info)

    async def shutdown_weight_transfer_engine(self) -> None:
        self.num_left += 1


def membership(**changes: Any) -> dict[str, Any]:
    given = {
        "group": "g1",
        "base_digest": DIGEST,
        "master_address": "10.0.0.5",
        "master_port": 29500,
        "rank_offset": 1,
        "world_size": 3,
        "packed": True,
        "packed_buffer_size_bytes": 1 << 30,
        "packed_num_buffers": 2,
    }
    return given | changes


def described(base: Path) -> dict[str, Any]:
    tensors = artifact.tensors(base)
    return {
        "names": list(tensors),
        "dtype_names": ["bfloat16"] * len(tensors),
        "shapes": [list(tensor.shape) for tensor in tensors.values()],
    }


async def test_an_engine_joins_and_a_new_trainer_s_group_takes_the_place_of_the_last(
    tmp_path: Path,
) -> None:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    engine, transfer = Engine(backend="nccl"), Transfer(tmp_path, base_digest=DIGEST)
    assert transfer.state(engine) == {"backend": "nccl", "workers": 2, "group": None}
    await transfer.join(engine, membership())
    assert engine.joined[0].keys() == membership().keys() - {"group", "base_digest"}
    assert (transfer.state(engine)["group"], engine.num_left) == ("g1", 0)
    await transfer.join(engine, membership(group="g2"))
    assert (transfer.state(engine)["group"], engine.num_left) == ("g2", 1)
    engine.is_alone = True
    with pytest.raises(Refused, match=r"could not join .* 1 of 3"):
        await transfer.join(engine, membership(group="g3"))
    assert transfer.state(engine)["group"] is None


async def test_only_an_engine_started_for_it_joins_and_only_over_its_own_base(
    tmp_path: Path,
) -> None:
    transfer = Transfer(tmp_path, base_digest=DIGEST)
    with pytest.raises(Refused, match="HONE_SERVING_WEIGHT_TRANSFER=nccl"):
        await transfer.join(Engine(backend=None), membership())
    with pytest.raises(Refused, match="weights over base cccc"):
        await transfer.join(Engine(backend="nccl"), membership(base_digest="c" * 64))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"master_port": 0}, "master_port"),
        ({"world_size": 1}, "world_size"),
        ({"rank_offset": "first"}, "rank_offset"),
        ({"nccl_unique_id_b64": "AAAA"}, "nccl_unique_id_b64"),
    ],
)
async def test_a_membership_that_makes_no_sense_is_refused_by_its_field(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    transfer = Transfer(tmp_path, base_digest=DIGEST)
    with pytest.raises(BadRequest, match=told):
        await transfer.join(Engine(backend="nccl"), membership(**changes))


async def test_what_is_not_the_engine_s_model_is_refused_before_anything_is_touched(
    base: Path,
) -> None:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    transfer = Transfer(base, base_digest=DIGEST)
    right = described(base)
    with pytest.raises(Refused, match="in no trainer's group"):
        transfer.check(right)
    await transfer.join(Engine(backend="gloo"), membership())
    assert transfer.check(right).names == right["names"]
    for wrong, told in (
        ({"names": ["lm.extra", *right["names"][1:]]}, "see tensor lm.extra"),
        ({"names": [right["names"][1], *right["names"][1:]]}, "see tensor"),
        ({"dtype_names": ["float32"] * len(right["names"])}, "would come as float32"),
        ({"shapes": [[1], *right["shapes"][1:]]}, r"would come as bfloat16 \(1,\)"),
    ):
        with pytest.raises(Refused, match=told):
            transfer.check(right | wrong)
    with pytest.raises(BadRequest, match="as many of each"):
        transfer.check(right | {"shapes": []})
    with pytest.raises(BadRequest, match="shapes"):
        transfer.check({name: right[name] for name in ("names", "dtype_names")})


def test_an_engine_is_started_for_nccl_only_where_there_is_a_gpu() -> None:
    def arguments(backend: str, *, has_gpu: bool) -> list[str]:
        given = {"engine_token": TOKEN, "weight_transfer": backend}
        return server.arguments(ServingSettings.model_validate(given), has_gpu=has_gpu)

    with pytest.raises(Unprocessable, match="needs an NVIDIA GPU"):
        arguments("nccl", has_gpu=False)
    assert '{"backend": "nccl"}' in arguments("nccl", has_gpu=True)
    assert "serving.in_vllm.gloo.Registered" in arguments("gloo", has_gpu=False)
    assert "--weight-transfer-config" not in arguments("off", has_gpu=True)
    assert "serving.in_vllm.worker.Extension" in arguments("off", has_gpu=True)
