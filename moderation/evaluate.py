"""Judges a classifier on labelled texts: what `hone moderation evaluate` runs.

Figures per category with intervals, beside other scorers on the same texts; how often texts are
flagged that only name an identity; what obfuscation costs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moderation import peers
from moderation.categories import FITTED
from moderation.classifier import Classifier
from moderation.dataset import Row
from moderation.figures import Floats
from moderation.inferred import names_identity
from moderation.obfuscation import STYLES
from moderation.policy import FLAG
from moderation.train import figures_of, known, rounded

# Sources whose harmless texts name identities on purpose.
IDENTITY = ("hatecheck", "madlibs")
NUM_OBFUSCATED = 300  # harmful texts per style and category


def evaluate(scorer: Classifier, *, rows: Sequence[Row]) -> dict[str, Any]:
    """Over the texts whose label is known; a category with labels of one kind only is left out."""
    texts = [row.text for row in rows]
    scored = scorer.score_many(texts)
    own = {name: np.array([scores[name] for scores in scored]) for name in FITTED}
    return {
        "num_texts": len(rows),
        "categories": areas(rows, own),
        "flagged": _flagged(rows, own),
        "identity": identity(rows, scored),
        "obfuscation": obfuscation(scorer, rows=rows, plain=own),
        "peers": against(rows),
    }


def areas(rows: Sequence[Row], scores: Mapping[str, Floats]) -> dict[str, Any]:
    """Both areas of every category that has labels of both kinds."""
    report = {}
    for name, scores_N in scores.items():
        known_N, positive_N = known(rows, category=name)
        if positive_N.any() and (known_N & ~positive_N).any():
            report[name] = figures_of(scores_N[known_N], positive_N[known_N])
    return report


def identity(rows: Sequence[Row], scored: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """How many harmless texts that name an identity are flagged, in any category.

    HateCheck's other cases that are not hateful name none: they abuse things, or people for no group
    of theirs, some of them as harassment or threats. They are told apart (`hatecheck/other`).
    """
    parts: dict[str, list[Mapping[str, float]]] = {}
    for row, scores in zip(rows, scored, strict=True):
        if row.source in IDENTITY and row.labels.get("hate") == 0:
            name = row.source if names_identity(row) else f"{row.source}/other"
            parts.setdefault(name, []).append(scores)
    return {
        name: {
            "num_texts": len(harmless),
            "flagged_as_hate": _share([scores["hate"] >= FLAG for scores in harmless]),
            "flagged": _share([max(scores.values()) >= FLAG for scores in harmless]),
        }
        for name, harmless in parts.items()
    }


def obfuscation(
    scorer: Classifier, *, rows: Sequence[Row], plain: Mapping[str, Floats]
) -> dict[str, Any]:
    """AUPRC and recall when the harmful texts are disguised and the harmless are not."""
    report: dict[str, Any] = {}
    for name, scores_N in plain.items():
        known_N, positive_N = known(rows, category=name)
        positives = np.flatnonzero(positive_N)[:NUM_OBFUSCATED]
        chosen = np.concatenate([positives, np.flatnonzero(known_N & ~positive_N)])
        if not len(positives) or len(chosen) == len(positives):
            continue
        labels = positive_N[chosen]
        report[name] = {"plain": _found(scores_N[chosen], labels)}
        for style, disguise in STYLES.items():
            draw = random.Random(0)
            disguised = [disguise(rows[i].text, draw) for i in positives]
            scores = scores_N[chosen].copy()
            scores[: len(positives)] = [one[name] for one in scorer.score_many(disguised)]
            report[name][style] = _found(scores, labels)
    return report


def against(rows: Sequence[Row]) -> dict[str, Any]:
    """The areas of what others install, each with its one score for every category."""
    scorers, absent = peers.available()
    texts = [row.text for row in rows]
    report: dict[str, Any] = {name: {"absent": why} for name, why in absent.items()}
    for name, scorer in scorers.items():
        scores_N = scorer(texts)
        report[name] = areas(rows, dict.fromkeys(FITTED, scores_N))
    return report


def benign(scorer: Classifier, *, texts: Sequence[str]) -> dict[str, Any]:
    """How many of these texts are flagged, though none should be."""
    flagged = {}
    for text, scores in zip(texts, scorer.score_many(texts), strict=True):
        names = [name for name, score in scores.items() if score >= FLAG]
        if names:
            flagged[text] = names
    return {
        "num_texts": len(texts),
        "flagged_share": rounded(len(flagged) / max(1, len(texts))),
        "flagged": flagged,
    }


def _flagged(rows: Sequence[Row], own: Mapping[str, Floats]) -> dict[str, Any]:
    report = {}
    for name, scores_N in own.items():
        known_N, positive_N = known(rows, category=name)
        negative_N = known_N & ~positive_N
        report[name] = {
            "recall": _share(scores_N[positive_N] >= FLAG),
            "false_positive_rate": _share(scores_N[negative_N] >= FLAG),
        }
    return report


def _found(scores: Floats, labels: Any) -> dict[str, float]:
    figures = figures_of(scores, labels)
    return {"auprc": figures["auprc"], "recall": _share(scores[labels] >= FLAG)}


def _share(flags: Any) -> float:
    return rounded(np.mean(flags)) if len(flags) else 0.0
