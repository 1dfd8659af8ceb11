"""The last look at a policy's folder before it is loaded, its numbers included. Loads torch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from feedback.errors import Refused
from serving import artifact
from serving.settings import ServingSettings


def check(
    folder: Path, *, version: str, digest: str, base: tuple[Path, str], settings: ServingSettings
) -> artifact.Manifest:
    """May this engine, which runs `base` (folder, digest), load it? Raises Refused."""
    if not folder.resolve().is_relative_to(settings.data_dir.resolve()):
        raise Refused(f"{folder} is outside the data folder of this engine")
    if not folder.is_dir():
        raise Refused(f"{folder.name} does not exist where this engine looks for it")
    manifest = artifact.verify(
        folder,
        digest=digest,
        base_model=base[0],
        expected_base_digest=base[1],
        max_lora_rank=settings.max_lora_rank,
        lora_target_modules=settings.lora_target_modules,
    )
    if manifest.version != version:
        raise Refused(f"{folder.name} holds {manifest.version}, {version} was asked for")
    check_finite(folder)
    return manifest


def check_finite(folder: Path) -> None:
    """Raises Refused naming the first tensor that holds NaN or infinity. One tensor in memory at a
    time."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise Refused(f"{folder.name}: {name} holds NaN or infinity")
