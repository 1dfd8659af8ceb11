"""Removes what is needed no more: of old rounds checkpoints, optimizer states, candidates; of old policy versions the
weights.

Kept for ever: datasets, every report, curves and logs (lineage and audit need them), a version's manifest and card, and
moderation's versions, which are small.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from serving import retired
from serving.lineage.versions import folder_of
from serving.registry import BASE, Live, Registry
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


def old(live: Live, *, keep: int, pinned: Collection[str] = ()) -> list[str]:
    """Versions that nobody needs the weights of: pure. Not the newest `keep`, not what anything means, nor what
    that was made from: a rollback, or the round under way, may want it. `pinned`: what that round starts from."""
    meant = {*live.aliases.values(), *pinned, BASE}
    if live.canary is not None:
        meant |= {live.canary.version, live.canary.incumbent}
    if live.rollout is not None:
        meant |= {live.rollout.version, live.rollout.production, live.rollout.previous or ""}
    meant |= {live.policies[v].parent or "" for v in meant if v in live.policies}
    made = sorted((v for v in live.policies if v != BASE), key=number_of)
    return [v for v in made[: max(0, len(made) - keep)] if v not in meant]


def prune_versions(rounds: Rounds, data_dir: Path, *, keep: int) -> int:
    """Bytes that were freed. The registry is marked first, where it still means none of them; begun again after a
    kill it goes on."""
    registry, active = Registry(rounds.redis), rounds.active()
    pinned = [rounds.parent(active)] if active is not None else []
    for version in old(registry.snapshot(), keep=keep, pinned=pinned):
        registry.retire(version, now=time.time())
    freed = 0
    for record in registry.policies().values():
        if record.removed is not None:
            freed += retired.strip(folder_of(record, data_dir), removed=record.removed)
    if freed:
        log.info("retention freed %d bytes of versions", freed)
    return freed


def number_of(version: str) -> int:
    return int(version.rpartition("-")[2])


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
