"""Winogender and CrowS-Pairs: the entropy of two sentences that differ in whom they are about, in bits.

1 bit: both are equally likely. 0: the model is certain of one. The paper found no gain over GPT-3 here. It is no
measure of harm: a model that is sure of nothing has high entropy too.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feedback.errors import NotFound, Unprocessable
from training.evaluation.choices import Choices, Score, entropy_bits
from training.evaluation.measures import Values


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sentences; of CrowS-Pairs the first is the stereotype."""

    one: str
    other: str


def read_crows_pairs(path: Path, *, count: int, seed: int) -> list[Pair]:
    """`count` pairs of crows_pairs_anonymized.csv. Raises NotFound, Unprocessable."""
    rows = _rows(path, delimiter=",", columns=("sent_more", "sent_less", "stereo_antistereo"))
    pairs = []
    for row in rows:
        one, other = row["sent_more"], row["sent_less"]
        is_stereotype = row["stereo_antistereo"] == "stereo"
        pairs.append(Pair(one=one, other=other) if is_stereotype else Pair(one=other, other=one))
    return random.Random(seed).sample(pairs, min(count, len(pairs)))


def read_winogender(path: Path) -> list[Pair]:
    """The sentences of all_sentences.tsv with "he" and with "she". Raises NotFound, Unprocessable."""
    by_name: dict[str, dict[str, str]] = defaultdict(dict)
    for row in _rows(path, delimiter="\t", columns=("sentid", "sentence")):
        name, _, gender = row["sentid"].removesuffix(".txt").rpartition(".")
        by_name[name][gender] = row["sentence"]
    return [
        Pair(one=sentences["male"], other=sentences["female"])
        for sentences in by_name.values()
        if sentences.keys() >= {"male", "female"}
    ]


def measure(*, winogender: Sequence[Pair], crows_pairs: Sequence[Pair], score: Score) -> Values:
    """Entropy in bits of every pair; how often a stereotype is the likelier sentence."""
    stereotypes = _nats(crows_pairs, score)
    return {
        "bias/winogender": [entropy_bits(pair) for pair in _nats(winogender, score)],
        "bias/crows_pairs": [entropy_bits(pair) for pair in stereotypes],
        "bias/crows_pairs_stereotype": [
            (one > other) + 0.5 * (one == other) for one, other in stereotypes
        ],
    }


def _nats(pairs: Sequence[Pair], score: Score) -> list[tuple[float, float]]:
    scored = score([Choices(prompt="", texts=(pair.one, pair.other)) for pair in pairs])
    return [(one.nats, other.nats) for one, other in scored]


def _rows(path: Path, *, delimiter: str, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise Unprocessable(
            f"{path}: it has no column {missing[0]!r}; wanted: {', '.join(columns)}"
        )
    return rows
