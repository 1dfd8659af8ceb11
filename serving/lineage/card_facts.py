"""What a model card says, read from a version's folder and from what its round left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feedback.errors import NotFound
from serving import artifact
from serving.lineage import base_model, versions
from serving.lineage.card import CardFacts, text
from serving.lineage.chain import Chain
from serving.lineage.round_facts import read
from serving.registry import BASE


def facts_of(
    folder: Path,
    *,
    round_dir: Path | None,
    base: Path | None,
    canaries: Sequence[Mapping[str, Any]] = (),
) -> CardFacts:
    """`folder`: with its manifest. `round_dir`, `base`: as far as they are there. Raises Refused."""
    manifest = artifact.read_manifest(folder)
    lineage = manifest.lineage
    is_there = round_dir is not None and round_dir.is_dir()
    return CardFacts(
        version=manifest.version,
        kind=manifest.kind,
        digest=manifest.digest,
        parent=manifest.parent,
        round_id=lineage.get("round"),
        created=manifest.created,
        recipe_name=lineage.get("recipe"),
        base=base_model.of(base) if base is not None and base.is_dir() else None,
        base_digest=manifest.base_digest,
        snapshot=lineage.get("snapshot"),
        recipe=read(round_dir / "recipe.json") if round_dir and is_there else None,
        reward=read(round_dir / "reward" / "report.json") if round_dir and is_there else None,
        checks=lineage.get("gate") or [],
        override=lineage.get("override"),
        canaries=canaries,
    )


def of_version(chain: Chain, asked: str) -> tuple[Path, CardFacts]:
    """Of a version of the registry, or what an alias means, with the canaries that it was since: its folder,
    and what is known. Raises NotFound, Refused."""
    record = chain.live.resolve(asked)
    if record is None or record.kind == "base":
        raise NotFound(
            f"there is no card of {asked}: `hone policies list` shows the versions that rounds made",
            param="version",
        )
    folder = versions.folder_of(record, chain.data_dir)
    base = chain.live.policies.get(BASE)
    return folder, facts_of(
        folder,
        round_dir=chain.data_dir / "rounds" / record.round_id if record.round_id else None,
        base=Path(base.path) if base is not None else None,
        canaries=chain.canaries_of(record.version),
    )


def write(folder: Path, facts: CardFacts) -> None:
    """Beside the weights, whole or not at all. What was judged stays: the card is no part of the digest."""
    partial = folder / (artifact.CARD + ".partial")
    partial.write_text(text(facts))
    partial.rename(folder / artifact.CARD)
