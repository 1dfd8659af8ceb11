"""A version of the classifier that differs from what is on board by its thresholds: quick to make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from moderation import artifact
from moderation.classifier import HEADS, read_heads
from moderation.encoder import Encoder
from moderation.versions import ON_BOARD, ModerationRecord

PROBES = ["Good morning, how do I bake bread?", "I will stab him to death."]


def write_version(
    folder: Path, encoder: Encoder, *, number: int, limit_shift: float
) -> ModerationRecord:
    """`limit_shift`: log-odds that every threshold moves up; scores go down."""
    heads = read_heads(HEADS)
    heads = replace(heads, model=f"moderation-{number:04d}", limit_C=heads.limit_C + limit_shift)
    manifest = artifact.write(
        folder,
        heads=heads,
        encoder=encoder,
        report={},
        probes=PROBES,
        parent=ON_BOARD,
        lineage={"round": "round-0001"},
    )
    return ModerationRecord(version=heads.model, path=str(folder), digest=manifest.digest)
