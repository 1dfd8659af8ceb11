"""What lm-eval calls with a document and its answer (`process_results` of the tasks beside this file)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.words import rouge_1, rouge_l, words

Doc = Mapping[str, Any]


def nq_open(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """F1 of the words with the nearest of the answers."""
    return {"f1": max(rouge_1(results[0], answer) for answer in doc["answers"])}


def boolq(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """The first word is the answer; anything but yes and no is wrong."""
    return {"accuracy": float(words(results[0])[:1] == [doc["answer"]])}


def xsum(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    return {"rouge_l": rouge_l(results[0], doc["summary"])}
