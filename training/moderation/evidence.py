"""Measures a candidate beside the classifier that serves, and asks the gate.

Both judge the same texts the way the server does: those that people spoke of and no fit saw, harmless
ones on board, and labelled ones apart from the fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from feedback.quality.intervals import mean
from moderation import artifact, dataset
from moderation.categories import FITTED
from moderation.classifier import Classifier
from moderation.dataset import Row
from moderation.encoder import Encoder
from moderation.evaluate import areas
from moderation.manifest import read_manifest
from moderation.policy import FLAG
from moderation.settings import ModerationSettings
from moderation.train import BENIGN_SOURCES, own_texts
from training import files
from training.job import Work
from training.moderation import labels
from training.moderation.fit import CANDIDATE, incumbent_heads
from training.moderation.gate import Limits, ModerationEvidence, judge

_SURE = 0.99  # a score counts as no surer than this: one text must not decide

Scores = Sequence[Mapping[str, float]]


def run(work: Work) -> dict[str, Any]:
    """Gather the evidence and judge; returns the report. A verdict on the same weights stands."""
    folder = work.step_folder("gate")
    candidate = work.folder / "fit" / CANDIDATE
    digest = read_manifest(candidate).digest
    report_file = folder / "report.json"
    if report_file.exists():
        known: dict[str, Any] = json.loads(report_file.read_text())
        if known["digest"] == digest:
            return known
    encoder = Encoder(ModerationSettings().encoder)
    ours = artifact.load(candidate, digest=digest, encoder=encoder)
    theirs = Classifier(encoder, heads=incumbent_heads(work.plan))
    _, said = labels.read(work)
    data = work.settings.moderation_data
    evidence, by_category, rows = measure(
        ours, theirs, said=said, labelled=_apart(own_texts() + labels.base(data)), digest=digest
    )
    verdict = judge(evidence, Limits())
    report = asdict(verdict) | {
        "evidence": asdict(evidence),
        "incumbent": work.plan.parent,
        "areas": by_category,
    }
    work.check_mine()
    files.write_lines(folder / "texts.jsonl", rows)
    files.write_text(report_file, json.dumps(report, indent=1))
    return report


def measure(
    ours: Classifier,
    theirs: Classifier,
    *,
    said: Sequence[Row],
    labelled: Sequence[Row],
    digest: str,
) -> tuple[ModerationEvidence, dict[str, Any], list[dict[str, Any]]]:
    """The evidence, both classifiers' areas by category, and each text with its scores. `said`: held out;
    `labelled`: apart from every fit."""
    judged = [*said, *labelled]
    texts = [row.text for row in judged]
    scores, before = ours.score_many(texts), theirs.score_many(texts)
    rows = [
        asdict(row) | {"candidate": one, "incumbent": other}
        for row, one, other in zip(judged, scores, before, strict=True)
    ]
    num = len(said)
    losses = [
        _loss(row, one) - _loss(row, other)
        for row, one, other in zip(said, scores[:num], before[:num], strict=True)
        if _known(row)
    ]
    benign = [num + i for i, row in enumerate(labelled) if row.source in BENIGN_SOURCES]
    by_category = {
        "candidate": _areas(labelled, scores[num:]),
        "incumbent": _areas(labelled, before[num:]),
    }
    drops = [
        by_category["incumbent"][name]["auprc"] - figures["auprc"]
        for name, figures in by_category["candidate"].items()
    ]
    evidence = ModerationEvidence(
        digest=digest,
        num_heldout_labels=sum(len(_known(row)) for row in said),
        loss_change=mean(losses),
        errors_change=_errors(said, scores[:num]) - _errors(said, before[:num]),
        benign_flagged_change=_flagged(scores, benign) - _flagged(before, benign),
        area_drop=max(drops, default=math.nan),
    )
    return evidence, by_category, rows


def _apart(labelled: Sequence[Row]) -> list[Row]:
    return [labelled[i] for i in dataset.split(labelled)["test"]]


def _known(row: Row) -> dict[str, int]:
    return {name: label for name, label in row.labels.items() if name in FITTED}


def _loss(row: Row, scores: Mapping[str, float]) -> float:
    """Nats per label, mean over what people said of the text."""
    said = _known(row)
    likely = (scores[name] if label else 1 - scores[name] for name, label in said.items())
    return sum(-math.log(min(_SURE, max(1 - _SURE, one))) for one in likely) / len(said)


def _errors(rows: Sequence[Row], scores: Scores) -> float:
    wrong = [
        (one[name] >= FLAG) != bool(label)
        for row, one in zip(rows, scores, strict=True)
        for name, label in _known(row).items()
    ]
    return sum(wrong) / len(wrong) if wrong else math.nan


def _flagged(scores: Scores, chosen: Sequence[int]) -> float:
    """Share of these that any category flags."""
    flagged = [max(scores[i].values()) >= FLAG for i in chosen]
    return sum(flagged) / len(flagged) if flagged else math.nan


def _areas(rows: Sequence[Row], scores: Scores) -> dict[str, Any]:
    return areas(rows, {name: np.array([one[name] for one in scores]) for name in FITTED})
