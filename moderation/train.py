"""Fits heads.npz: what `hone moderation train` runs.

1. read the labelled texts; add our everyday prompts and answers (benign in every category) and the
   texts of our templates; write all in their plain spelling
2. split every source 80 / 10 / 10 by a hash of the text
3. for the fit only: labels that follow from the source, composites of the train split, and copies
   that name another group
4. embed once (kept in the cache)
5. fit the networks, one per seed, and the TF-IDF regression
6. choose the thresholds on `validation` and our own prompts and answers, by the rates of false
   positives below
7. judge on `test`, which only real texts belong to, and write heads.npz and report.json
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from feedback.errors import Unprocessable
from moderation import dataset, figures, network, synthetic, tfidf
from moderation.categories import FITTED
from moderation.classifier import Heads
from moderation.composites import composites
from moderation.counterfactuals import counterfactuals
from moderation.dataset import Row
from moderation.encoder import Encoder
from moderation.features import NUM_EXTRA, typed
from moderation.figures import Flags
from moderation.inferred import completed, names_identity
from moderation.normaliser import normalise

PROMPTS = Path(__file__).with_name("everyday.txt")
ANSWERS = Path(__file__).with_name("answers.jsonl")
# Ordinary text: what an honest user sends or a model answers; not written to mislead a classifier.
BENIGN_SOURCES = frozenset(
    {"answers", "everyday", "ethics", "litbank", "madlibs", "movie_reviews", "xstest"}
)
# A blocked everyday question hurts more than a missed insult: of benign texts at most this share is
# flagged. Other negatives are near misses: quoted slurs, reclaimed words, other categories' texts.
BENIGN_RATE = 0.002
NEGATIVE_RATE = 0.02
# Per category, of harmless texts that name a group of people on purpose: HateCheck's, which quote and
# answer hate, and madlibs'. Below 5 % in any category: those of one category are seldom another's.
IDENTITY_RATE = 0.015
IDENTITY_WEIGHT = 2.5  # of these texts in the fit: they are the nearest to hate
CHAT_RATE = 0.0005  # of our prompts and answers, those of the fit included
# Of a source with this many texts every text counts once; of a larger one less, of a smaller one
# more, by a power of its size: no source shall be what a category means.
USUAL_SOURCE = 1000
SOURCE_POWER = 0.75
LIGHTEST, HEAVIEST = 0.15, 3.0
# What a chat consists of: 339 prompts and 1,361 answers would not tell among tweets and books.
CHAT_WEIGHTS = {"everyday": 8.0, "answers": 3.0}
NUM_COMPOSITES = 2000
NUM_COUNTERFACTUALS = 2000
# One network each. What is fitted with much dropout rests on no single feature: it carries over to other
# sources (LOG.md); what is fitted with little knows these ones.
DROPOUTS = (0.3, 0.8, 0.3, 0.8)
NETWORK_SHARE = 0.75
STORY_WEIGHT = 0.3  # ours are many, and of one hand

Floats = npt.NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows and what the fits read of them; made once."""

    rows: Sequence[Row]  # as labelled, in their plain spelling
    features_NF: Floats
    buckets: Sequence[tfidf.Indices]

    def part(self, indices: Sequence[int] | dataset.Indices) -> Corpus:
        """Some of the rows."""
        return Corpus(
            rows=[self.rows[i] for i in indices],
            features_NF=self.features_NF[np.asarray(indices, dtype=np.int64)],
            buckets=[self.buckets[i] for i in indices],
        )


def train(
    labelled: Sequence[Row],
    *,
    cache: Path | None,
    model: str,
    ours: Sequence[Row] | None = None,
    say: Progress = lambda line: None,
) -> tuple[Heads, dict[str, Any]]:
    """The heads, and the report that belongs beside them. `ours`: instead of the texts on board."""
    given = [*labelled, *(own_texts() if ours is None else ours)]
    encoder = Encoder()
    splits = dataset.split(given)  # before they are changed, so that `evaluate` finds the same
    rows = plain(given)
    fitted = [rows[i] for i in splits["train"]]
    made = [
        *composites(fitted, num=NUM_COMPOSITES),
        *counterfactuals([completed(row) for row in fitted], num=NUM_COUNTERFACTUALS),
    ]
    corpus = read_corpus([*rows, *made], encoder=encoder, cache=cache, say=say)
    in_fit = [*splits["train"], *range(len(rows), len(rows) + len(made))]
    heads = fit(corpus.part(in_fit), encoder_digest=encoder.digest, model=model, say=say)
    chat = [i for i in splits["train"] if rows[i].source in CHAT_WEIGHTS]
    limit_C = _limits(heads, corpus.part(splits["validation"]), chat=corpus.part(chat))
    heads = replace(heads, limit_C=limit_C)
    real = [i for i in splits["test"] if not rows[i].source.startswith("templates/")]
    report = {
        "model": model,
        "data_digest": dataset.digest(labelled),
        "num_texts": Counter(row.source for row in corpus.rows),
        "benign_rate": BENIGN_RATE,
        "negative_rate": NEGATIVE_RATE,
        "benign_sources": sorted(BENIGN_SOURCES),
        "validation": judge(heads, corpus.part(splits["validation"])),
        "test": judge(heads, corpus.part(real)),
    }
    return heads, report


def own_texts() -> list[Row]:
    """The texts on board that every fit learns from."""
    return [*everyday(), *synthetic.texts()]


def everyday() -> list[Row]:
    """Our own prompts, and a small model's answers to them: benign in every category."""
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    answers = [orjson.loads(line)["text"] for line in ANSWERS.read_bytes().splitlines()]
    benign = dict.fromkeys(FITTED, 0)
    return [
        *(Row(text=text, source="everyday", labels=benign) for text in prompts if text),
        *(Row(text=text, source="answers", labels=benign) for text in answers),
    ]


def plain(rows: Sequence[Row]) -> list[Row]:
    """The rows as the classifier reads them."""
    return [Row(text=normalise(row.text), source=row.source, labels=row.labels) for row in rows]


def read_corpus(
    rows: Sequence[Row],
    *,
    encoder: Encoder,
    cache: Path | None = None,
    say: Progress = lambda line: None,
) -> Corpus:
    """The features of every row's first window."""
    texts = [row.text for row in rows]
    pooled_NP = dataset.embed(texts, encoder=encoder, cache=cache, progress=_every(len(rows), say))
    features_NF = np.empty((len(rows), pooled_NP.shape[1] + NUM_EXTRA), dtype=np.float32)
    features_NF[:, : pooled_NP.shape[1]] = pooled_NP
    counted = []
    for index, text in enumerate(texts):
        window = encoder.windows(text)[0].text
        features_NF[index, pooled_NP.shape[1] :] = typed(window)
        counted.append(tfidf.buckets(window))
    return Corpus(rows=rows, features_NF=features_NF, buckets=counted)


def fit(
    corpus: Corpus,
    *,
    encoder_digest: str,
    model: str,
    dropouts: Sequence[float] = DROPOUTS,
    say: Progress = lambda line: None,
) -> Heads:
    """Heads fitted on these rows, with a threshold of 0."""
    labels_NC, known_NC = _labels([completed(row) for row in corpus.rows])
    for index, name in enumerate(FITTED):
        if len(set(labels_NC[known_NC[:, index] > 0, index])) < 2:
            raise Unprocessable(
                f"{name}: the train split needs texts labelled 0 and texts labelled 1."
            )
    weights_N = _weights(corpus.rows)
    networks = []
    for seed, dropout in enumerate(dropouts):
        say(f"network {seed + 1} of {len(dropouts)}")
        networks.append(
            network.fit(
                corpus.features_NF,
                labels_NC,
                known_NC,
                weights_N=weights_N,
                seed=seed,
                dropout=dropout,
            )
        )
    say("TF-IDF regression")
    idf_V = tfidf.inverse_frequency(corpus.buckets)
    rows = tfidf.sparse(corpus.buckets, idf_V=idf_V)
    return Heads(
        model=model,
        encoder_digest=encoder_digest,
        networks=networks,
        table=tfidf.fit(rows, labels_NC, known_NC, weights_N=weights_N, idf_V=idf_V),
        share=NETWORK_SHARE,
        limit_C=np.zeros(len(FITTED), dtype=np.float32),
    )


def logits(heads: Heads, corpus: Corpus) -> Floats:
    """(N, C) averaged log-odds, before the threshold."""
    by_network = np.mean([one.logits(corpus.features_NF) for one in heads.networks], axis=0)
    rows = tfidf.sparse(corpus.buckets, idf_V=heads.table.idf_V)
    by_table = np.stack(
        [tfidf.products(rows, weights_V) for weights_V in heads.table.weights_VC.T], axis=1
    )
    averaged: Floats = (
        heads.share * by_network + (1 - heads.share) * (by_table + heads.table.bias_C)
    ).astype(np.float32)
    return averaged


def judge(heads: Heads, corpus: Corpus) -> dict[str, Any]:
    """The figures of each category over the rows whose label is known."""
    scores_NC = logits(heads, corpus) - heads.limit_C
    is_benign_N = np.array([row.source in BENIGN_SOURCES for row in corpus.rows], dtype=bool)
    report = {}
    for index, name in enumerate(FITTED):
        known_N, positive_N = known(corpus.rows, category=name)
        if positive_N[known_N].any() and not positive_N[known_N].all():
            scores = scores_NC[known_N, index].astype(np.float64)
            labels, benign = positive_N[known_N], is_benign_N[known_N]
            report[name] = figures_of(scores, labels) | {
                "recall": rounded((scores[labels] >= 0).mean()),
                "false_positive_rate": rounded((scores[~labels] >= 0).mean()),
                "false_positive_rate_benign": rounded(
                    (scores[benign & ~labels] >= 0).mean() if (benign & ~labels).any() else 0.0
                ),
            }
    return report


def figures_of(scores_N: figures.Floats, labels_N: Flags) -> dict[str, Any]:
    """Both areas with their intervals."""
    return {
        "positives": int(labels_N.sum()),
        "negatives": int((~labels_N).sum()),
        "auprc": rounded(figures.average_precision(scores_N, labels_N)),
        "auprc_95": [
            *map(rounded, figures.interval(figures.average_precision, scores_N, labels_N))
        ],
        "auroc": rounded(figures.auc(scores_N, labels_N)),
        "auroc_95": [*map(rounded, figures.interval(figures.auc, scores_N, labels_N))],
    }


def known(rows: Sequence[Row], *, category: str) -> tuple[Flags, Flags]:
    """Which rows' label is known, and which are positive."""
    values_N = np.array([row.labels.get(category, -1) for row in rows], dtype=np.int64)
    return values_N >= 0, values_N == 1


def rounded(value: Any) -> float:
    """Four digits: more would only record the noise."""
    return float(f"{float(value):.4g}")


def _limits(heads: Heads, corpus: Corpus, *, chat: Corpus) -> Floats:
    """(C,) the lowest log-odds that keep every rate of false positives."""
    scores_NC = logits(heads, corpus).astype(np.float64)
    chat_NC = logits(heads, chat).astype(np.float64)
    is_benign_N = np.array([row.source in BENIGN_SOURCES for row in corpus.rows], dtype=bool)
    is_identity_N = np.array([names_identity(row) for row in corpus.rows], dtype=bool)
    limits = []
    for index, name in enumerate(FITTED):
        known_N, positive_N = known(corpus.rows, category=name)
        negative_N = known_N & ~positive_N
        scores_N = scores_NC[:, index]
        kept = (
            (scores_N[negative_N & is_benign_N], BENIGN_RATE),
            (scores_N[negative_N], NEGATIVE_RATE),
            (scores_N[is_identity_N], IDENTITY_RATE),
            (chat_NC[:, index], CHAT_RATE),
        )
        limits.append(
            max(figures.threshold_for(part, false_positive_rate=rate) for part, rate in kept)
        )
    # Single precision may round down, onto the very text that must not be flagged.
    return np.nextafter(np.array(limits, dtype=np.float32), np.float32(np.inf))


def _labels(rows: Sequence[Row]) -> tuple[Floats, Floats]:
    labels_NC = np.array([[row.labels.get(name, 0) for name in FITTED] for row in rows])
    known_NC = np.array([[name in row.labels for name in FITTED] for row in rows])
    return labels_NC.astype(np.float32), known_NC.astype(np.float32)


def _weights(rows: Sequence[Row]) -> Floats:
    sizes = Counter(row.source for row in rows)
    by_source = {
        source: min(HEAVIEST, max(LIGHTEST, (USUAL_SOURCE / size) ** SOURCE_POWER))
        * _own_weight(source)
        for source, size in sizes.items()
    }
    weights = [
        by_source[row.source] * (IDENTITY_WEIGHT if names_identity(row) else 1) for row in rows
    ]
    return np.array(weights, dtype=np.float32)


def _own_weight(source: str) -> float:
    if source.startswith(synthetic.STORY_SOURCE):
        return STORY_WEIGHT
    return CHAT_WEIGHTS.get(source, 1.0)


def _every(total: int, say: Progress) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done % 1000 == 0 or done == total:
            say(f"embedded {done} of {total} texts")

    return progress


def digest(path: Path) -> str:
    """SHA-256 of a file that a fit wrote."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
