from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import torch

from training.shortage import cure_of


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "tokens_per_pass"),
        (MemoryError(), "tokens_per_pass"),
    ],
)
def test_a_shortage_has_a_cure(error: Exception, cure: str) -> None:
    found = cure_of(error)
    assert found is not None
    assert cure in found


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "no such file"), RuntimeError("shapes differ"), ValueError()]
)
def test_another_error_has_none(error: Exception) -> None:
    assert cure_of(error) is None


def test_torch_s_own_words_are_understood_when_this_machine_has_no_more_memory() -> None:
    code = (
        "import resource, torch; from training.shortage import cure_of\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "try: torch.empty(64 << 30)\n"
        "except RuntimeError as error: assert 'tokens_per_pass' in cure_of(error)\n"
        "else: raise SystemExit('64 GiB were there')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert run.returncode == 0, run.stderr
