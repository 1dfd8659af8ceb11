"""The last look at a checkpoint before it is loaded: are all its numbers finite? Loads torch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from feedback.errors import Refused


def check_finite(folder: Path) -> None:
    """Raises Refused naming the first tensor that holds NaN or infinity. One tensor in memory at a
    time."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise Refused(f"{folder.name}: {name} holds NaN or infinity")
