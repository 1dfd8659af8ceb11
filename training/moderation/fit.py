"""Heads that learn from a round's texts, written as a version that nobody serves yet.

Without data of the operator's own they go on from what serves; with HONE_TRAINING_MODERATION_DATA they are
fitted anew on that and on what people said.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import orjson

from feedback.connection import connect
from feedback.errors import Refused
from feedback.settings import FeedbackSettings
from moderation import artifact, dataset
from moderation.adapt import adapt
from moderation.classifier import HEADS, Heads, read_heads
from moderation.dataset import Row
from moderation.encoder import Encoder
from moderation.settings import ModerationSettings
from moderation.train import own_texts
from moderation.train import train as fit_anew
from moderation.versions import Versions
from training import files
from training.job import Work
from training.moderation import labels
from training.rounds import Plan

log = logging.getLogger(__name__)

CANDIDATE = "candidate"
NUM_PROBES = 16


def run(work: Work) -> None:
    """Writes `fit/candidate/`. Raises Unprocessable where nothing was said that can be learnt."""
    folder = work.step_folder("fit")
    version = _version(folder)
    encoder = Encoder(ModerationSettings().encoder)
    said, _ = labels.read(work)
    data = work.settings.moderation_data
    report: dict[str, Any] = {"num_said": len(said), "data": None}
    if data is None:
        serving = incumbent_heads(work.plan)
        heads = adapt(serving, said, encoder=encoder, model=version, say=log.info)
    else:
        # No vectors are kept: they would outlive a text that is erased.
        rows = [*labels.base(data), *said]
        heads, report["data"] = fit_anew(rows, cache=None, model=version, say=log.info)
    manifest = work.folder / "snapshot" / labels.MANIFEST
    artifact.write(
        folder / CANDIDATE,
        heads=heads,
        encoder=encoder,
        report=report,
        probes=_probes(own_texts()),
        parent=work.plan.parent,
        lineage={"round": work.plan.round_id, "snapshot": orjson.loads(manifest.read_bytes())},
    )


def incumbent_heads(plan: Plan) -> Heads:
    """Of what served when the round began."""
    if plan.parent_path is None:
        return read_heads(ModerationSettings().heads or HEADS)
    return read_heads(Path(plan.parent_path) / artifact.HEADS)


def _version(folder: Path) -> str:
    """Taken once, and never given out again, whatever becomes of the candidate."""
    path = folder / "version"
    if not path.exists():
        with connect(FeedbackSettings().redis_url) as client:
            files.write_text(path, Versions(client).next())
    return path.read_text()


def _probes(ours: list[Row]) -> list[str]:
    """Texts on board that no fit saw: harmless ones and others, in their own spelling."""
    apart = [ours[i].text for i in dataset.split(ours)["test"]]
    if len(apart) < NUM_PROBES:
        raise Refused(f"{len(apart)} texts on board are held out: {NUM_PROBES} are needed")
    return random.Random(0).sample(apart, NUM_PROBES)
