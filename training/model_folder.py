"""A whole model out of what a step trained: the folder that engines, `hone up --model` and transformers load."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.files import flush_tree
from training.shared import ADAPTER_WEIGHTS


def write(trained: Path, target: Path, *, base_model: Path) -> None:
    """`trained` is what `Models.save` wrote. An adapter is merged into the base. Whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if (trained / ADAPTER_WEIGHTS).exists():
        _merge(trained, partial, base_model=base_model)
    else:
        shutil.copytree(trained, partial)
    flush_tree(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _merge(adapter: Path, target: Path, *, base_model: Path) -> None:
    """In float32, then back to the base's dtype."""
    import peft

    base = AutoModelForCausalLM.from_pretrained(base_model, dtype="auto")
    dtype = base.dtype
    merged = peft.PeftModel.from_pretrained(base.to(torch.float32), adapter).merge_and_unload()
    merged.to(dtype).save_pretrained(target)
    AutoTokenizer.from_pretrained(base_model).save_pretrained(target)
