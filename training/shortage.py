"""What the machine ran out of, and what to do about it. Loads without torch, whose errors it reads."""

from __future__ import annotations

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: BaseException) -> bool:
    """safetensors writes in Rust: its error has the number in its words only."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(f"(os error {number})" in str(error) for number in _FULL)


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU (torch.OutOfMemoryError), or of this machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def cure_of(error: BaseException) -> str | None:
    """One line for whoever reads the round's log, or None: this error is something else."""
    if is_disk_full(error):
        return f"the disk is full: free some of it, then `hone rounds retry`, or `hone train` again ({error})"
    if is_out_of_memory(error):
        first_line = str(error).partition("\n")[0]
        return (
            "out of memory: lower [model] tokens_per_pass in the round's recipe.json, or set its "
            f"gradient_checkpointing to true, then `hone rounds retry`, or `hone train` again ({first_line})"
        )
    return None
