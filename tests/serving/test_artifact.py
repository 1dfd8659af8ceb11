from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from feedback.errors import Refused
from serving import artifact
from serving.in_vllm.weights import check_finite

Tensors = dict[str, torch.Tensor]
RANK = 4


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {
        f"model.layers.{layer}.{module}.weight": torch.randn(8, 6)
        for layer in range(2)
        for module in ("self_attn.o_proj", "mlp.down_proj", "mlp.up_proj")
    }
    save_file(tensors | {"model.norm.weight": torch.ones(6)}, folder / "model.safetensors")
    return folder


def adapter_tensors() -> Tensors:
    prefix = "base_model.model.model.layers.1"
    return {
        f"{prefix}.{module}.{name}.weight": torch.randn(shape)
        for module in ("self_attn.o_proj", "mlp.down_proj")
        for name, shape in (("lora_A", (RANK, 6)), ("lora_B", (8, RANK)))
    }


def write_adapter(
    folder: Path, base: Path, *, change: Callable[[Tensors], None] | None = None, **config: object
) -> artifact.Manifest:
    folder.mkdir()
    tensors = adapter_tensors()
    if change is not None:
        change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": ["o_proj", "down_proj"],
        "layers_to_transform": [1],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return artifact.write_manifest(
        folder,
        version="policy-0001",
        kind="adapter",
        parent="policy-0000",
        base_digest=artifact.base_digest(base),
    )


def verify(folder: Path, base: Path, digest: str | None) -> artifact.Manifest:
    return artifact.verify(
        folder,
        digest=digest,
        base_model=base,
        expected_base_digest=artifact.base_digest(base),
        max_lora_rank=8,
        lora_target_modules=("o_proj", "down_proj"),
    )


def drop_first(tensors: Tensors) -> None:
    tensors.pop(next(iter(tensors)))


def narrow_first(tensors: Tensors) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name][:, :-1].contiguous()


def whole_numbers(tensors: Tensors) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.int32)


def one_more(tensors: Tensors) -> None:
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(1)


def test_a_whole_adapter_is_accepted(base: Path, tmp_path: Path) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    assert verify(tmp_path / "a", base, manifest.digest) == manifest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_first, "is missing"),
        (narrow_first, "has shape"),
        (whole_numbers, "a float is needed"),
        (one_more, "is unknown to the base model"),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(
    base: Path, tmp_path: Path, change: Callable[[Tensors], None], reason: str
) -> None:
    manifest = write_adapter(tmp_path / "a", base, change=change)
    with pytest.raises(Refused, match=f"base_model.model.*{reason}|{reason}"):
        verify(tmp_path / "a", base, manifest.digest)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 64}, "rank 64"),
        ({"target_modules": ["o_proj", "q_proj"]}, "q_proj"),
        ({"peft_type": "IA3"}, "plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, "plain LoRA"),
        ({"bias": "all"}, "biases"),
    ],
)
def test_an_adapter_that_the_engine_cannot_run_is_refused(
    base: Path, tmp_path: Path, config: dict[str, object], reason: str
) -> None:
    manifest = write_adapter(tmp_path / "a", base, **config)
    with pytest.raises(Refused, match=reason):
        verify(tmp_path / "a", base, manifest.digest)


def test_a_truncated_file_is_refused(base: Path, tmp_path: Path) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    path = tmp_path / "a" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Refused, match="truncated"):
        verify(tmp_path / "a", base, manifest.digest)


def test_a_changed_byte_is_refused(base: Path, tmp_path: Path) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    path = tmp_path / "a" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="digest of adapter_model.safetensors"):
        verify(tmp_path / "a", base, manifest.digest)


def test_another_digest_than_asked_for_is_refused(base: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", base)
    with pytest.raises(Refused, match="was asked for"):
        verify(tmp_path / "a", base, "0" * 64)


@pytest.mark.parametrize("name", ["optimizer.pt", "weights.bin", "x.pkl", "modeling.py"])
def test_a_file_that_could_run_code_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    (tmp_path / "a" / name).write_bytes(b"x")
    with pytest.raises(Refused, match="could run code"):
        verify(tmp_path / "a", base, manifest.digest)


def test_a_folder_without_a_manifest_is_unfinished(base: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(Refused, match="publishing did not finish"):
        verify(tmp_path / "a", base, None)


def test_an_adapter_over_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    manifest = write_adapter(tmp_path / "a", base)
    with pytest.raises(Refused, match="was trained over base"):
        artifact.verify(
            tmp_path / "a", digest=manifest.digest, base_model=base, expected_base_digest="f" * 64
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_full_weights_must_have_the_dtype_of_the_base(
    base: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    tensors = {
        name: torch.zeros(tensor.shape, dtype=dtype)
        for name, tensor in artifact.tensors(base).items()
    }
    save_file(tensors, folder / "model.safetensors")
    artifact.write_manifest(
        folder,
        version="policy-0001",
        kind="full",
        parent=None,
        base_digest=artifact.base_digest(base),
    )
    if dtype is torch.float32:
        assert verify(folder, base, None).kind == "full"
    else:
        with pytest.raises(Refused, match="the base model is F32"):
            verify(folder, base, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(base: Path, tmp_path: Path, value: float) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors[next(iter(tensors))][0, 0] = value

    write_adapter(tmp_path / "a", base, change=spoil)
    with pytest.raises(Refused, match="NaN or infinity"):
        check_finite(tmp_path / "a")
