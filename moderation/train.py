"""Fits the heads: `python -m moderation.train --data FILE --out heads.json`.

1. read the labelled texts, and our everyday prompts and answers, which count as benign in every
   category
2. embed them once (kept in --cache)
3. split every source 70 / 15 / 15 by a hash of the text
4. per category, on the texts whose label is known: fit on `train`, choose the L2 penalty on
   `validation`
5. choose the threshold on `validation` by the rates of false positives below, and shift the bias so
   that the threshold's score is 0.5
6. judge on `test`, and write the heads with that report
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from feedback.errors import HoneError, Unprocessable
from moderation import dataset, fitting
from moderation.categories import SCORED
from moderation.classifier import SCHEMA
from moderation.dataset import Embedded, Row
from moderation.encoder import Encoder
from moderation.fitting import Flags, Floats

PROMPTS = Path(__file__).with_name("everyday.txt")
ANSWERS = Path(__file__).with_name("answers.jsonl")
# Ordinary text: what an honest user sends or a model answers; not written to mislead a classifier.
BENIGN_SOURCES = frozenset(
    {"answers", "everyday", "ethics", "litbank", "madlibs", "movie_reviews", "xstest"}
)
# A blocked everyday question hurts more than a missed insult: of benign texts at most this share is
# flagged. Other negatives are near misses: quoted slurs, reclaimed words, other categories' texts.
BENIGN_RATE = 0.003
NEGATIVE_RATE = 0.02
# 339 prompts and 1,361 answers among 37,000 tweets, books and reviews: what a chat consists of, and
# unweighted it would not tell in the fit.
WEIGHTS = {"everyday": 30.0, "answers": 3.0}
L2_GRID = (1e-3, 3e-4, 1e-4, 3e-5)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The texts of one split whose label is known for one category."""

    scores: Floats  # logits before the shift
    labels: Flags
    benign: Flags  # of a benign source, and not a positive


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Everything the fits read; made once."""

    rows: Sequence[Row]
    embedded: Embedded
    splits: dict[str, dataset.Indices]
    weights: Floats  # (N,) of each text


def main() -> int:
    """Exit codes: 0 written, 1 the data or the encoder cannot be used, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m moderation.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines, .gz or not")
    parser.add_argument("--out", type=Path, required=True, help="heads.json to write")
    parser.add_argument("--model", default="hone-moderation-2", help="name given in answers")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "hone-moderation",
        help="folder where the embeddings are kept",
    )
    options = parser.parse_args()
    try:
        content = train(dataset.read(options.data), cache=options.cache, model=options.model)
    except (HoneError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    part = options.out.with_suffix(".part")
    part.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    os.replace(part, options.out)
    sys.stdout.write(orjson.dumps(content["report"], option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0


def train(labelled: Sequence[Row], *, cache: Path | None, model: str) -> dict[str, Any]:
    """The content of heads.json."""
    rows = [*labelled, *everyday()]
    encoder = Encoder()
    embedded = dataset.embed(rows, encoder=encoder, cache=cache, progress=_progress(len(rows)))
    weights = np.array([WEIGHTS.get(row.source, 1.0) for row in rows])
    corpus = Corpus(rows=rows, embedded=embedded, splits=dataset.split(rows), weights=weights)
    fitted = {name: _fit(corpus, category=name) for name in SCORED}
    return {
        "schema": SCHEMA,
        "model": model,
        "encoder_digest": encoder.digest,
        "report": {
            "data_digest": dataset.digest(rows),
            "num_texts": len(rows),
            "benign_rate": BENIGN_RATE,
            "negative_rate": NEGATIVE_RATE,
            "benign_sources": sorted(BENIGN_SOURCES),
            "categories": {name: report for name, (_, report) in fitted.items()},
        },
        "heads": {name: head for name, (head, _) in fitted.items()},
    }


def everyday() -> list[Row]:
    """Our own prompts, and a small model's answers to them: benign in every category."""
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    answers = [orjson.loads(line)["text"] for line in ANSWERS.read_bytes().splitlines()]
    benign = dict.fromkeys(SCORED, 0)
    return [
        *(Row(text=text, source="everyday", labels=benign) for text in prompts if text),
        *(Row(text=text, source="answers", labels=benign) for text in answers),
    ]


def judge(known: Known, *, threshold: float) -> dict[str, Any]:
    """The figures of one category on one split; rates are shares of the texts they name."""
    flagged = known.scores >= threshold
    return {
        "positives": int(known.labels.sum()),
        "negatives": int((~known.labels).sum()),
        "benign": int(known.benign.sum()),
        "auc": _rounded(fitting.auc(known.scores, known.labels)),
        "average_precision": _rounded(fitting.average_precision(known.scores, known.labels)),
        "recall": _rounded(flagged[known.labels].mean()),
        "precision": _rounded(known.labels[flagged].mean() if flagged.any() else 0.0),
        "false_positive_rate": _rounded(flagged[~known.labels].mean()),
        "false_positive_rate_benign": _rounded(flagged[known.benign].mean()),
    }


def threshold(known: Known) -> float:
    """The lowest logit that keeps both rates of false positives."""
    return max(
        fitting.threshold_for(known.scores[known.benign], false_positive_rate=BENIGN_RATE),
        fitting.threshold_for(known.scores[~known.labels], false_positive_rate=NEGATIVE_RATE),
    )


def _fit(corpus: Corpus, *, category: str) -> tuple[dict[str, Any], dict[str, Any]]:
    best: tuple[float, float, Floats, float] | None = None
    for l2 in L2_GRID:
        weights_D, bias = _fit_once(corpus, category=category, l2=l2)
        known = _known(corpus, category=category, split="validation", weights_D=weights_D)
        quality = fitting.average_precision(known.scores, known.labels)
        if best is None or quality > best[0]:
            best = quality, l2, weights_D, bias
    assert best is not None
    _, l2, weights_D, bias = best
    validation = _known(corpus, category=category, split="validation", weights_D=weights_D)
    test = _known(corpus, category=category, split="test", weights_D=weights_D)
    limit = threshold(validation)
    head = {"bias": _rounded(-limit), "weights": [_rounded(value) for value in weights_D]}
    report = {
        "l2": l2,
        # What 0.5 was before the shift, in the fit's own balanced probability.
        "unshifted_probability": _rounded(fitting.sigmoid(np.array(limit + bias))),
        "validation": judge(validation, threshold=limit),
        "test": judge(test, threshold=limit),
    }
    return head, report


def _fit_once(corpus: Corpus, *, category: str, l2: float) -> tuple[Floats, float]:
    labels_N = _labels(corpus.rows, category=category)
    usable_N = np.zeros(len(corpus.rows), dtype=bool)
    usable_N[corpus.splits["train"]] = True
    usable_N &= labels_N >= 0
    if len(set(labels_N[usable_N])) < 2:
        raise Unprocessable(
            f"{category}: the train split needs texts labelled 0 and texts labelled 1."
        )
    owner = corpus.embedded.owner
    chosen_W = usable_N[owner]
    # A long text counts once, whatever the number of its windows.
    shares_W = (corpus.weights / np.bincount(owner, minlength=len(corpus.rows)))[owner][chosen_W]
    positive_W = labels_N[owner][chosen_W] == 1
    return fitting.logistic(
        corpus.embedded.vectors[chosen_W].astype(np.float64),
        positive_W,
        weights_N=fitting.balanced(positive_W, shares_N=shares_W),
        l2=l2,
    )


def _known(corpus: Corpus, *, category: str, split: str, weights_D: Floats) -> Known:
    scores_N = dataset.highest(
        corpus.embedded.vectors @ weights_D, owner=corpus.embedded.owner, num_texts=len(corpus.rows)
    )
    labels_N = _labels(corpus.rows, category=category)
    indices = corpus.splits[split]
    indices = indices[labels_N[indices] >= 0]
    is_benign = np.array([corpus.rows[index].source in BENIGN_SOURCES for index in indices])
    positive = labels_N[indices] == 1
    if not positive.any() or positive.all():
        raise Unprocessable(
            f"{category}: the {split} split has texts of one kind only: give more labelled texts."
        )
    return Known(scores=scores_N[indices], labels=positive, benign=is_benign & ~positive)


def _labels(rows: Sequence[Row], *, category: str) -> dataset.Indices:
    return np.array([row.labels.get(category, -1) for row in rows], dtype=np.int64)


def _rounded(value: Any) -> float:
    return float(f"{float(value):.5g}")


def _progress(num_texts: int) -> Any:
    def show(done: int) -> None:
        if sys.stderr.isatty() and (done % 200 == 0 or done == num_texts):
            sys.stderr.write(f"\rembedded {done} of {num_texts} texts")

    return show


if __name__ == "__main__":
    sys.exit(main())
