"""A version whose weights were removed since it is old: what stays of its folder, and the mark in it.

The registry is marked first (`Registry.retire`), in one step with a look that nothing means the version; this comes
after, and again whenever it was interrupted.
"""

from __future__ import annotations

import json
from pathlib import Path

MARK = "weights-removed.json"
_WEIGHTS = "*.safetensors"


def strip(folder: Path, *, removed: float) -> int:
    """Mark the folder, then delete the weights; returns bytes. Manifest, card and whatever else is small stay."""
    if not folder.is_dir():
        return 0
    partial = folder / f".{MARK}.partial"
    partial.write_text(json.dumps({"removed": removed}))
    partial.rename(folder / MARK)
    freed = 0
    for path in folder.glob(_WEIGHTS):
        freed += path.stat().st_size
        path.unlink()
    return freed


def since(folder: Path) -> float | None:
    """When its weights were removed, unix seconds; None: they were not."""
    try:
        return float(json.loads((folder / MARK).read_text())["removed"])
    except FileNotFoundError:
        return None
