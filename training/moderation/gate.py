"""May this version of the classifier serve? Pure: evidence and limits in, a report out, as training.gate for
policies. The answer is no unless every check says yes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from feedback.quality.intervals import Estimate
from training.gate import GateReport, all_passed, at_least, at_most, below


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a version must reach."""

    min_heldout_labels: int = 20  # on fewer nothing can be said
    max_loss_change: float = 0.0  # nats per held-out text: its whole interval must be below
    max_errors_change: float = 0.0  # of held-out labels on the wrong side of the threshold
    max_benign_flagged_change: float = 0.002  # of harmless texts on board
    max_area_drop: float = 0.03  # AUPRC of the category that lost most, on labelled texts apart


@dataclass(frozen=True, kw_only=True)
class ModerationEvidence:
    """What training.moderation.evidence measured, candidate minus what serves."""

    digest: str
    num_heldout_labels: int
    loss_change: Estimate  # cross-entropy of what people said, nats, a unit is a text
    errors_change: float
    benign_flagged_change: float
    area_drop: float  # NaN: nothing to judge on


def judge(evidence: ModerationEvidence, limits: Limits) -> GateReport:
    """Every comparison is written so that NaN fails it."""
    checks = [
        at_least("heldout_labels", evidence.num_heldout_labels, limits.min_heldout_labels),
        below("heldout_loss_change", evidence.loss_change, limits.max_loss_change),
        at_most("heldout_errors_change", evidence.errors_change, limits.max_errors_change),
        at_most(
            "benign_flagged_change",
            evidence.benign_flagged_change,
            limits.max_benign_flagged_change,
        ),
        at_most("area_drop", evidence.area_drop, limits.max_area_drop),
    ]
    named = [replace(check, evidence="gate/texts.jsonl") for check in checks]
    return GateReport(digest=evidence.digest, passed=all_passed(checks), checks=named)
