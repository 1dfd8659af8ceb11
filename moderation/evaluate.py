"""Judges the classifier as it is installed: `python -m moderation.evaluate FILE`.

A file of JSON lines (as `train` reads) gives figures per category, by default on its test split,
which the fit never saw. Any other file is taken as benign texts, one per line: the share that is
flagged, and which.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from feedback.errors import HoneError
from moderation import classifier, dataset, policy
from moderation.categories import SCORED
from moderation.classifier import Classifier
from moderation.dataset import Row
from moderation.settings import ModerationSettings
from moderation.train import BENIGN_SOURCES, Known, judge


def main() -> int:
    """Exit codes: 0 done, 1 the file or the classifier cannot be used, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m moderation.evaluate", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--split", choices=[*dataset.SPLITS, "all"], default="test")
    options = parser.parse_args()
    settings = ModerationSettings()
    try:
        scorer = classifier.load(settings)
        if {".jsonl", ".gz"} & set(options.file.suffixes):
            rows = _chosen(dataset.read(options.file), split=options.split)
            report = labelled(scorer, rows=rows, limits=settings.flags())
        else:
            lines = options.file.read_text(encoding="utf-8").splitlines()
            report = benign(scorer, texts=[line for line in lines if line], limits=settings.flags())
    except (HoneError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0


def labelled(
    scorer: Classifier, *, rows: Sequence[Row], limits: dict[str, float]
) -> dict[str, Any]:
    """Figures per category, over the texts whose label is known and of both kinds."""
    scored, ms_per_text = _score(scorer, [row.text for row in rows])
    figures = {}
    for name in (name for name in SCORED if name in limits):
        known = [i for i, row in enumerate(rows) if name in row.labels]
        labels = np.array([rows[i].labels[name] == 1 for i in known], dtype=bool)
        if not labels.any() or labels.all():
            continue
        is_benign = np.array([rows[i].source in BENIGN_SOURCES for i in known], dtype=bool)
        scores = np.array([scored[i][name] for i in known])
        figures[name] = judge(
            Known(scores=scores, labels=labels, benign=is_benign & ~labels), threshold=limits[name]
        )
    return {"num_texts": len(rows), "ms_per_text": ms_per_text, "categories": figures}


def benign(scorer: Classifier, *, texts: Sequence[str], limits: dict[str, float]) -> dict[str, Any]:
    """How many of these texts are flagged, though none should be."""
    scored, ms_per_text = _score(scorer, texts)
    flagged = {
        text: names
        for text, scores in zip(texts, scored, strict=True)
        if (names := policy.over(scores, limits=limits))
    }
    return {
        "num_texts": len(texts),
        "ms_per_text": ms_per_text,
        "flagged_share": len(flagged) / max(1, len(texts)),
        "flagged": flagged,
    }


def _chosen(rows: Sequence[Row], *, split: str) -> Sequence[Row]:
    return rows if split == "all" else [rows[i] for i in dataset.split(rows)[split]]


def _score(scorer: Classifier, texts: Sequence[str]) -> tuple[list[dict[str, float]], float]:
    started = time.perf_counter()
    scored = [scorer.score(text) for text in texts]
    return scored, 1000 * (time.perf_counter() - started) / max(1, len(texts))


if __name__ == "__main__":
    sys.exit(main())
