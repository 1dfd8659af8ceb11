"""Removes what rounds of long ago need no more: checkpoints, optimizer states, candidates.

Kept for ever: the dataset, every report, curves and logs (lineage and audit need them), and all versions: they
are copies of their own (data/policies, data/moderation), so nothing here can touch what serves.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.round_states import ENDED
from training.rounds import Rounds

log = logging.getLogger(__name__)

# Of a step's folder. The reward model goes too: the next round trains its own.
_HEAVY = ("state-*", ".partial-*", "candidate", "rollout", "model", "weights", "head.safetensors")


def past(states: Sequence[Mapping[str, str]], *, keep: int) -> list[str]:
    """Rounds that ended and are older than the newest `keep` of those that ended: pure. One that failed or
    was cancelled may be retried as long as it is kept."""
    ended = [state["round_id"] for state in states if state["status"] in ENDED]
    return ended[: max(0, len(ended) - keep)]


def prune(rounds: Rounds, data_dir: Path, *, keep: int) -> int:
    """Bytes that were freed. Begun again after a kill it goes on."""
    freed = 0
    for round_id in past(rounds.list(), keep=keep):
        folder = data_dir / "rounds" / round_id
        for heavy in [path for pattern in _HEAVY for path in folder.glob(f"*/{pattern}")]:
            freed += size_of(heavy)
            shutil.rmtree(heavy) if heavy.is_dir() else heavy.unlink(missing_ok=True)
    if freed:
        log.info("retention freed %d bytes", freed)
    return freed


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
