"""Versions over the tiny model, published as a round publishes them."""

from __future__ import annotations

import json
from pathlib import Path

import redis

from serving import artifact
from serving.registry import BASE, PolicyRecord, Registry

RANK = 4


def publish(client: redis.Redis, *, kind: str, base: Path, policies: Path, seed: int) -> str:
    """An adapter, or full weights, with numbers of their own. Returns the version."""
    registry = Registry(client)
    version = registry.next_version()
    folder = policies / version
    folder.mkdir(parents=True)
    (_write_adapter if kind == "adapter" else _write_full)(folder, base, seed)
    manifest = artifact.write_manifest(
        folder,
        version=version,
        kind=kind,
        parent=BASE,
        base_digest=artifact.base_digest(base),
    )
    record = PolicyRecord(
        version=version,
        kind=kind,
        path=str(folder),
        digest=manifest.digest,
        parent=BASE,
        created=manifest.created,
    )
    registry.add(record)
    return version


def _write_adapter(folder: Path, base: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors = {}
    for name, tensor in artifact.tensors(base).items():
        module = name.removesuffix(".weight")
        if module.endswith(("o_proj", "down_proj")):
            num_out, num_in = tensor.shape
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(RANK, num_in)
            tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(num_out, RANK)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["o_proj", "down_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _write_full(folder: Path, base: Path, seed: int) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    noisy = {name: each + 0.1 * torch.randn_like(each) for name, each in tensors.items()}
    save_file(noisy, folder / "model.safetensors")
